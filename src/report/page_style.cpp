#include "report/page_style.h"

namespace qround::report {

const std::string_view kPageStyle = R"css(
:root { color-scheme: light dark; --ink: #1c2330; --paper: #ffffff; --soft: #5b6577; --rule: #d8dde6;
  --panel: #f5f7fa; --c0: #2563a8; --c1: #c2570c; --c2: #5f7d3a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ef; --paper: #14181f; --soft: #9aa5b8;
  --rule: #333b48; --panel: #1c222c; --c0: #6fa8e8; --c1: #f0955a; --c2: #a3c77a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 880px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 40px 0 8px; padding-bottom: 4px; border-bottom: 1px solid var(--rule); }
p { margin: 8px 0; } .soft, small, figcaption { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px;
  margin: 20px 0; }
.tile { background: var(--panel); border: 1px solid var(--rule); border-radius: 8px;
  padding: 10px 12px; } .tile b { display: block; font-size: 20px; font-weight: 600; }
.tile span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; margin: 8px 0; }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; } th { font-weight: 600; color: var(--soft); font-size: 13px; }
data, small { white-space: nowrap; } td { overflow-wrap: break-word; }
figure { margin: 16px 0; } svg { width: 100%; height: auto; display: block; }
.grid { stroke: var(--rule); } .tick, .axis { fill: var(--soft); font-size: 11px; }
.line { fill: none; stroke-width: 2; } .frame { fill: none; stroke: var(--rule); }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); }
.line.c0 { fill: none; stroke: var(--c0); } .line.c1 { fill: none; stroke: var(--c1); }
.line.c2 { fill: none; stroke: var(--c2); }
.legend { font-size: 13px; margin: 2px 0; } .key { display: inline-block; width: 12px; height: 12px;
  border-radius: 2px; margin: 0 4px 0 10px; vertical-align: -1px; }
.key.c0 { background: var(--c0); } .key.c1 { background: var(--c1); } .key.c2 { background: var(--c2); }
[class^="level"] { fill: var(--c0); }
.level0 { fill-opacity: .12; } .level1 { fill-opacity: .24; } .level2 { fill-opacity: .36; }
.level3 { fill-opacity: .48; } .level4 { fill-opacity: .6; } .level5 { fill-opacity: .72; }
.level6 { fill-opacity: .86; } .level7 { fill-opacity: 1; }
@media print { :root { color-scheme: light; --ink: #000; --paper: #fff; --soft: #444; --rule: #bbb;
  --panel: #fff; --c0: #2563a8; --c1: #c2570c; --c2: #5f7d3a; }
  figure, tr, .tile { break-inside: avoid; } h2 { break-after: avoid; }
  main { max-width: none; padding: 0; } .scroll { overflow: visible; }
  table, th, small { font-size: 10px; } th, td { padding-right: 5px; }
  .key, .tile { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
)css";

}  // namespace qround::report
