#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/checkpoint/test_directory.h"

namespace qround {
namespace {

using testing::HasSubstr;

// Parses `header` followed by `data_bytes` zero bytes.
SafetensorsHeader parse(std::string_view header, size_t data_bytes) {
  const std::string bytes = safetensors_bytes(header, std::string(data_bytes, '\0'));
  return parse_safetensors_header(std::as_bytes(std::span(bytes)), "file.safetensors");
}

std::string refusal(std::string_view header, size_t data_bytes) {
  const Error error = error_of([&] { parse(header, data_bytes); });
  EXPECT_EQ(error.kind(), ErrorKind::input);
  return error.what();
}

TEST(Safetensors, ReadsEveryDtypeAndSortsByOffset) {
  const SafetensorsHeader header = parse(
      R"({"b":{"dtype":"I32","shape":[2,1],"data_offsets":[6,14]},"__metadata__":{"format":"pt"},)"
      R"("a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"c":{"dtype":"F8_E4M3","shape":[],"data_offsets":[14,15]},)"
      R"("none":{"dtype":"F32","shape":[0,7],"data_offsets":[15,15]}})",
      15);
  ASSERT_EQ(header.entries.size(), 4u);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[0].begin, header.data_begin);
  EXPECT_EQ(header.entries[1].dtype, DType::i32);
  EXPECT_EQ(header.entries[1].shape, (Shape{2, 1}));
  EXPECT_EQ(header.entries[2].dtype, DType::f8_e4m3);
  EXPECT_EQ(header.entries[2].bytes(), 1u);
  EXPECT_EQ(header.entries[3].bytes(), 0u);
  ASSERT_EQ(header.metadata.size(), 1u);
  EXPECT_EQ(header.metadata[0].second, "pt");
}

TEST(Safetensors, AcceptsAHeaderPaddedWithSpaces) {
  EXPECT_EQ(
      parse(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}     )", 1).entries.size(), 1u);
  EXPECT_TRUE(parse("{}  ", 0).entries.empty());
}

TEST(Safetensors, RefusesAnEmptyOrTinyFile) {
  EXPECT_THAT(error_of([] { parse_safetensors_header({}, "x"); }).what(), HasSubstr("too short"));
  const std::string seven(7, '\0');
  EXPECT_THAT(
      error_of([&] { parse_safetensors_header(std::as_bytes(std::span(seven)), "x"); }).what(),
      HasSubstr("7 bytes"));
}

TEST(Safetensors, RefusesAHeaderOfTwoToTheSixtyBytesWithoutAllocatingIt) {
  std::string bytes = safetensors_bytes("{}", "");
  const uint64_t length = uint64_t{1} << 60;
  std::memcpy(bytes.data(), &length, sizeof length);
  const Error error = error_of(
      [&] { parse_safetensors_header(std::as_bytes(std::span(bytes)), "dir/x.safetensors"); });
  EXPECT_EQ(error.file(), "dir/x.safetensors");
  EXPECT_THAT(error.actual(), HasSubstr("1152921504606846976"));
}

TEST(Safetensors, RefusesAHeaderLongerThanTheFile) {
  std::string bytes = safetensors_bytes("{}", "");
  bytes[0] = 3;
  const Error error =
      error_of([&] { parse_safetensors_header(std::as_bytes(std::span(bytes)), "x"); });
  EXPECT_THAT(error.what(), HasSubstr("ends inside its safetensors header"));
  EXPECT_THAT(error.hint(), HasSubstr("download it again"));
}

TEST(Safetensors, RefusesWhatIsNoJsonObject) {
  EXPECT_THAT(refusal("not json", 0), HasSubstr("no JSON object"));
  EXPECT_THAT(refusal("{\"a\":", 0), HasSubstr("invalid JSON"));
  EXPECT_THAT(refusal("{} trailing", 0), HasSubstr("invalid JSON"));
  EXPECT_THAT(refusal("[]", 0), HasSubstr("no JSON object"));
  EXPECT_THAT(refusal("", 0), HasSubstr("no JSON object"));
}

TEST(Safetensors, NamesTheTensorOfAnUnknownDtype) {
  const Error error = error_of(
      [] { parse(R"({"layer.weight":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1); });
  EXPECT_EQ(error.tensor(), "layer.weight");
  EXPECT_EQ(error.file(), "file.safetensors");
  EXPECT_EQ(error.actual(), "F4");
}

TEST(Safetensors, RefusesANegativeOrFractionalShape) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1),
              HasSubstr("shape"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1),
              HasSubstr("shape"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})", 1),
              HasSubstr("shape"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1),
              HasSubstr("array"));
}

TEST(Safetensors, RefusesAShapeWhoseProductOverflows) {
  EXPECT_THAT(
      refusal(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
      HasSubstr("overflows"));
  EXPECT_THAT(
      refusal(R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0),
      HasSubstr("overflows"));
}

TEST(Safetensors, RefusesDataOfTheWrongSize) {
  const Error error =
      error_of([] { parse(R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,10]}})", 10); });
  EXPECT_THAT(error.expected(), HasSubstr("12 bytes for F16 [2, 3]"));
  EXPECT_EQ(error.actual(), "10 bytes");
}

TEST(Safetensors, RefusesOffsetsThatOverlapLeaveAGapOrRunBackwards) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                      R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                      6),
              HasSubstr("overlaps"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                      R"("b":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}})",
                      6),
              HasSubstr("gap"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2),
              HasSubstr("gap"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}})", 2),
              HasSubstr("backwards"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", 2),
              HasSubstr("data offset"));
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1),
              HasSubstr("two elements"));
}

TEST(Safetensors, TellsATruncatedFileFromOneThatGoesOn) {
  constexpr std::string_view kHeader = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  const Error truncated = error_of([&] { parse(kHeader, 3); });
  EXPECT_EQ(truncated.message(), "file is truncated");
  EXPECT_EQ(truncated.tensor(), "a");
  EXPECT_THAT(truncated.hint(), HasSubstr("download it again"));
  EXPECT_THAT(refusal(kHeader, 5), HasSubstr("goes on after its last tensor"));
}

TEST(Safetensors, RefusesANameThatStandsTwice) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                      R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                      2),
              HasSubstr("\"a\" stands twice"));
}

TEST(Safetensors, RefusesMetadataThatIsNoString) {
  EXPECT_THAT(refusal(R"({"__metadata__":{"format":1}})", 0), HasSubstr("metadata \"format\""));
}

TEST(Safetensors, ListsSeveralDamagedTensorsAtOnce) {
  std::string header = "{";
  for (int i = 0; i < 12; ++i) {
    if (i > 0) header += ',';
    header += "\"t" + std::to_string(i) + R"(":{"dtype":"F5","shape":[],"data_offsets":[0,0]})";
  }
  const std::string text = refusal(header + "}", 0);
  EXPECT_THAT(text, HasSubstr("12 problems"));
  EXPECT_THAT(text, HasSubstr("t9: unknown dtype"));
  EXPECT_THAT(text, HasSubstr("and 2 more"));
}

TEST(SafetensorsFile, ViewsTensorsInTheMapping) {
  const TestDirectory directory;
  const std::string header = R"({"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}})";
  SafetensorsFile opened(directory.write("m.safetensors", safetensors_bytes(header, "\1\2\3\4")));
  const SafetensorsFile file = std::move(opened);
  const TensorView view = file.view("a");
  EXPECT_EQ(view.shape, (Shape{2, 2}));
  EXPECT_EQ(view.as<uint8_t>()[3], 4);
  file.prefetch(*file.find("a"));
  file.release(*file.find("a"));
  EXPECT_EQ(view.as<uint8_t>()[0], 1);
  EXPECT_EQ(file.find("b"), nullptr);
  EXPECT_EQ(error_of([&] { file.view("b"); }).tensor(), "b");
}

TEST(SafetensorsFile, RefusesToViewMisalignedData) {
  const TestDirectory directory;
  std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  while (header.size() % 4 != 1) header += ' ';
  const SafetensorsFile file(directory.write("m.safetensors", safetensors_bytes(header, "1234")));
  EXPECT_THAT(error_of([&] { file.view("a"); }).what(), HasSubstr("not aligned"));
}

TEST(SafetensorsFile, NamesAFileThatIsNotThere) {
  EXPECT_EQ(error_of([] { SafetensorsFile file("/nonexistent/m.safetensors"); }).file(),
            "/nonexistent/m.safetensors");
}

}  // namespace
}  // namespace qround
