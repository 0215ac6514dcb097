// Damages of the data of tensors.
#include <bit>

#include "model/stored_parameter.h"
#include "tests/verify/damage_corpus.h"

namespace qround::verify {
namespace {

using Damaged = DamagedCheckpoint;

std::function<void(Damaged&)> tensors(const std::function<void(Damaged&)>& change) {
  return [=](Damaged& d) {
    change(d);
    d.save_tensors();
  };
}

std::function<void(Damaged&)> codes(const std::function<uint32_t(uint32_t)>& change) {
  return tensors([=](Damaged& d) { d.change_codes(kExpert, change); });
}

std::function<void(Damaged&)> scale(float value) {
  return tensors(
      [=](Damaged& d) { d.tensors.at(kExpert + ".scales").as<uint16_t>()[3] = f32_to_f16(value); });
}

uint32_t permuted(uint32_t word, const int (&source)[8]) {
  uint32_t result = 0;
  for (int i = 0; i < 8; ++i) result |= (word >> (4 * source[i]) & 0xFu) << (4 * i);
  return result;
}

// Adds `step` to every code that stays within 0..15.
uint32_t shifted(uint32_t word, int step) {
  uint32_t result = 0;
  for (int i = 0; i < 8; ++i) {
    const int code = static_cast<int>(word >> (4 * i) & 0xFu) + step;
    result |= static_cast<uint32_t>(std::clamp(code, 0, 15)) << (4 * i);
  }
  return result;
}

// Rounds the weight as if its inputs were outputs.
void transpose(Damaged& d) {
  const Checkpoint source = Checkpoint::open(quant::pocket());
  const StoredTensor weight = copy_of(source.view(kSquare + ".weight"));
  StoredTensor turned = weight;
  for (int64_t n = 0; n < 256; ++n) {
    for (int64_t k = 0; k < 256; ++k)
      turned.as<uint16_t>()[k * 256 + n] = weight.view().as<uint16_t>()[n * 256 + k];
  }
  d.make_int4(kSquare, turned, kSymmetricZeros);
}

const bool kAdded = add_damages(
    "data",
    {
        {"zeros of the other convention", {"zeros"}, tensors([](Damaged& d) {
           d.set_zeros(kExpert, static_cast<int32_t>(0x88888888));
         })},
        {"one word of zeros is wrong", {"zeros"}, tensors([](Damaged& d) {
           d.tensors.at(kExpert + ".qzeros").as<int32_t>()[1] = 0;
         })},
        {"a scale is zero", {"scales"}, scale(0)},
        {"a scale is no number", {"scales"}, scale(NAN)},
        {"a scale is infinite", {"scales"}, scale(INFINITY)},
        {"a scale is too small", {"scales"}, scale(1e-6f)},
        {"a scale is too large", {"scales"}, scale(-30)},
        {"all scales are positive", {"scale-signs", "relative-error"}, tensors([](Damaged& d) {
           for (auto& [name, tensor] : d.tensors) {
             if (!name.ends_with(".scales")) continue;
             for (int64_t i = 0; i < tensor.view().count(); ++i) tensor.as<uint16_t>()[i] &= 0x7FFF;
           }
         })},
        {"all codes of a map are equal", {"codes"}, codes([](uint32_t) { return 0x88888888u; })},
        {"qweight was never written", {"codes"}, codes([](uint32_t) { return 0u; }), false},
        {"a kept weight is no number",
         {"kept-finite"},
         tensors([](Damaged& d) { d.tensors.at("lm_head.weight").as<uint16_t>()[77] = 0x7FC0; }),
         false},
        {"one bit of a kept tensor is flipped", {"kept-identical"}, tensors([](Damaged& d) {
           d.tensors.at("lm_head.weight").bytes[1001] ^= std::byte{1};
         })},
        {"one bit of the MTP head is flipped", {"kept-identical"}, tensors([](Damaged& d) {
           d.tensors.at("mtp.fc.weight").bytes[4] ^= std::byte{4};
         })},
        {"one code is two steps off", {"rounding"}, tensors([](Damaged& d) {
           uint32_t& word = d.tensors.at(kExpert + ".qweight").as<uint32_t>()[5];
           const uint32_t code = word >> 8 & 0xFu;
           word = (word & ~0xF00u) | ((code < 8 ? code + 2 : code - 2) << 8);
         })},
        {"codes are one step too high", {"relative-error"}, codes([](uint32_t word) {
           return shifted(word, 1);
         })},
        {"codes are one step too low", {"relative-error"}, codes([](uint32_t word) {
           return shifted(word, -1);
         })},
        {"nibbles run backwards", {"relative-error"}, codes([](uint32_t word) {
           return permuted(word, {7, 6, 5, 4, 3, 2, 1, 0});
         })},
        {"nibbles are swapped", {"relative-error"}, codes([](uint32_t word) {
           return permuted(word, {1, 0, 3, 2, 5, 4, 7, 6});
         })},
        {"nibbles are in AWQ's order", {"relative-error"}, codes([](uint32_t word) {
           return permuted(word, {0, 2, 4, 6, 1, 3, 5, 7});
         })},
        {"codes are two's complement", {"relative-error"}, codes([](uint32_t word) {
           return word ^ 0x88888888u;
         })},
        {"inputs and outputs are transposed", {"relative-error"}, tensors(transpose)},
        {"gate and up are swapped", {"relative-error"}, tensors([](Damaged& d) {
           d.swap_modules(kExpert, kLayer + "mlp.experts.4.gate_proj");
         })},
        {"two experts are swapped", {"relative-error"}, tensors([](Damaged& d) {
           d.swap_modules(kExpert, kLayer + "mlp.experts.5.up_proj");
         })},
        {"codes of another network", {"relative-error"}, codes([](uint32_t word) {
           return std::rotl(word * 2654435761u, 7);
         })},
    });

}  // namespace

TEST_F(DamageCorpus, OfData) { check("data"); }

TEST_F(DamageCorpus, NamesTheMistakeThatExplainsOtherWeights) {
  const std::map<std::string, std::string> mistakes = {
      {"codes are one step too high", "codes are one too high"},
      {"codes are one step too low", "codes are one too low"},
      {"nibbles run backwards", "run backwards"},
      {"nibbles are swapped", "two nibbles of every byte are swapped"},
      {"nibbles are in AWQ's order", "AWQ's order"},
      {"codes are two's complement", "two's complement"},
      {"inputs and outputs are transposed", "inputs and outputs are transposed"},
      {"gate and up are swapped", kLayer + "mlp.experts.4.gate_proj"},
      {"two experts are swapped", kLayer + "mlp.experts.5.up_proj"},
      {"all scales are positive", "signs of the scales are lost"},
      {"codes of another network", "no known mistake"},
  };
  size_t n_checked = 0;
  for (const Damage& row : corpus().at("data")) {
    const auto mistake = mistakes.find(row.name);
    if (mistake == mistakes.end()) continue;
    EXPECT_NE(all_findings(outcome_of(row)).find(mistake->second), std::string::npos)
        << all_findings(outcome_of(row));
    ++n_checked;
  }
  EXPECT_EQ(n_checked, mistakes.size());
}

}  // namespace qround::verify
