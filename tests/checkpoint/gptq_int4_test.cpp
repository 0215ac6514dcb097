#include "checkpoint/gptq_int4.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "base/half.h"
#include "checkpoint/safetensors_layout.h"
#include "tests/checkpoint/test_directory.h"

namespace qround {
namespace {

using testing::HasSubstr;

template <typename T>
TensorView view_of(DType dtype, Shape shape, const std::vector<T>& values) {
  return {dtype, std::move(shape), reinterpret_cast<const std::byte*>(values.data())};
}

// A linear with random codes, zeros and signed scales, packed element by element as the layout is
// drawn.
struct NaiveLinear {
  Int4Shape shape;
  std::vector<uint8_t> codes;    // [out, in]
  std::vector<uint8_t> zeros;    // [out, n_groups]
  std::vector<uint16_t> scales;  // [out, n_groups] f16
  std::vector<int32_t> qweight, qzeros;
  std::vector<uint16_t> file_scales;

  NaiveLinear(int64_t out, int64_t in, int64_t group_size) : shape{out, in, group_size} {
    std::mt19937 random(static_cast<uint32_t>(out * 1000 + in));
    const int64_t n_groups = shape.n_groups();
    const auto draw = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    for (int64_t i = 0; i < out * in; ++i) codes.push_back(static_cast<uint8_t>(draw(0, 15)));
    for (int64_t i = 0; i < out * n_groups; ++i) zeros.push_back(static_cast<uint8_t>(draw(1, 16)));
    for (int64_t i = 0; i < out * n_groups; ++i) {
      scales.push_back(f32_to_f16(static_cast<float>(draw(-1000, 1000)) * 1e-4f));
    }
    qweight.resize(static_cast<size_t>(in / 8 * out));
    qzeros.resize(static_cast<size_t>(n_groups * shape.zero_words()));
    file_scales.resize(scales.size());
    for (int64_t n = 0; n < out; ++n) {
      for (int64_t k = 0; k < in; ++k) {
        add_nibble(qweight[static_cast<size_t>(k / 8 * out + n)], k % 8, code(n, k));
      }
      for (int64_t g = 0; g < n_groups; ++g) {
        add_nibble(qzeros[static_cast<size_t>(g * shape.zero_words() + n / 8)], n % 8,
                   zero(n, g) - 1);
        file_scales[static_cast<size_t>(g * out + n)] =
            scales[static_cast<size_t>(n * n_groups + g)];
      }
    }
  }

  static void add_nibble(int32_t& word, int64_t position, int value) {
    word = static_cast<int32_t>(static_cast<uint32_t>(word) | static_cast<uint32_t>(value)
                                                                  << (4 * position));
  }
  int code(int64_t n, int64_t k) const { return codes[static_cast<size_t>(n * shape.in + k)]; }
  int zero(int64_t n, int64_t g) const {
    return zeros[static_cast<size_t>(n * shape.n_groups() + g)];
  }
  float scale(int64_t n, int64_t g) const {
    return f16_to_f32(scales[static_cast<size_t>(n * shape.n_groups() + g)]);
  }
  float weight(int64_t n, int64_t k, int64_t g) const {
    return scale(n, g) * static_cast<float>(code(n, k) - zero(n, g));
  }
  Int4Tensors tensors() const {
    return {.shape = shape,
            .qweight = view_of(DType::i32, shape.qweight(), qweight),
            .qzeros = view_of(DType::i32, shape.qzeros(), qzeros),
            .scales = view_of(DType::f16, shape.scales(), file_scales)};
  }
};

struct Size {
  int64_t out, in, group_size;
};

const std::vector<Size> kSizes = {{1, 8, 8},     {3, 16, 16},    {8, 24, 8},     {17, 520, 128},
                                  {16, 512, 32}, {33, 136, 128}, {48, 1032, 64}, {50, 384, 384},
                                  {9, 40, 12},   {24, 1024, 5}};

// Row ranges that cover all rows, as threads would split them; every start is a multiple of 8.
std::vector<RowRange> splits(int64_t out) {
  std::vector<RowRange> ranges;
  for (int64_t begin = 0, step = 8; begin < out; begin += step, step += 8) {
    ranges.push_back({begin, std::min(begin + step, out)});
  }
  return ranges;
}

TEST(GptqInt4, PacksAsTheLayoutIsDrawn) {
  for (const auto& [out, in, group_size] : kSizes) {
    const NaiveLinear linear(out, in, group_size);
    std::vector<int32_t> qweight(linear.qweight.size(), -1), qzeros(linear.qzeros.size(), -1);
    std::vector<uint16_t> scales(linear.file_scales.size(), 0xFFFF);
    for (const RowRange rows : splits(out)) {
      const int64_t n_groups = linear.shape.n_groups();
      pack_codes(linear.shape, rows, linear.codes.data() + rows.begin * in, qweight.data());
      pack_scales(linear.shape, rows, linear.scales.data() + rows.begin * n_groups, scales.data());
      pack_zeros(linear.shape, rows, linear.zeros.data() + rows.begin * n_groups, qzeros.data());
    }
    EXPECT_EQ(qweight, linear.qweight) << out << " x " << in;
    EXPECT_EQ(scales, linear.file_scales) << out << " x " << in;
    EXPECT_EQ(qzeros, linear.qzeros) << out << " x " << in;
  }
}

TEST(GptqInt4, UnpacksWhatWasPacked) {
  for (const auto& [out, in, group_size] : kSizes) {
    const NaiveLinear linear(out, in, group_size);
    for (const RowRange rows :
         {RowRange{0, out}, RowRange{out / 3, out}, RowRange{out / 2, out / 2}}) {
      const auto n_groups = static_cast<size_t>(rows.count() * linear.shape.n_groups());
      std::vector<uint8_t> codes(static_cast<size_t>(rows.count() * in)), zeros(n_groups);
      std::vector<uint16_t> scales(n_groups);
      unpack_codes(linear.tensors(), rows, codes.data());
      unpack_zeros(linear.tensors(), rows, zeros.data());
      unpack_scales(linear.tensors(), rows, scales.data());
      EXPECT_TRUE(std::equal(codes.begin(), codes.end(), linear.codes.begin() + rows.begin * in));
      EXPECT_TRUE(std::equal(zeros.begin(), zeros.end(),
                             linear.zeros.begin() + rows.begin * linear.shape.n_groups()));
      EXPECT_TRUE(std::equal(scales.begin(), scales.end(),
                             linear.scales.begin() + rows.begin * linear.shape.n_groups()));
    }
  }
}

TEST(GptqInt4, DequantizesToTheExactProduct) {
  for (const auto& [out, in, group_size] : kSizes) {
    const NaiveLinear linear(out, in, group_size);
    const RowRange rows{out / 4, out};
    std::vector<float> weights(static_cast<size_t>(rows.count() * in));
    dequantize_int4(linear.tensors(), rows, weights.data());
    for (int64_t n = rows.begin; n < rows.end; ++n) {
      for (int64_t k = 0; k < in; ++k) {
        ASSERT_EQ(weights[static_cast<size_t>((n - rows.begin) * in + k)],
                  linear.weight(n, k, k / group_size))
            << out << " x " << in << " at " << n << ", " << k;
      }
    }
  }
}

TEST(GptqInt4, FollowsAGroupIndexAndUnshiftedZeros) {
  const NaiveLinear linear(19, 272, 64);
  std::vector<int32_t> g_idx(272);
  for (size_t k = 0; k < g_idx.size(); ++k) g_idx[k] = static_cast<int32_t>(k * 7 % 5);
  Int4Tensors tensors = linear.tensors();
  tensors.g_idx = view_of(DType::i32, {272}, g_idx);
  tensors.zero_offset = 0;
  std::vector<float> weights(19 * 272);
  dequantize_int4(tensors, {0, 19}, weights.data());
  for (int64_t n = 0; n < 19; ++n) {
    for (int64_t k = 0; k < 272; ++k) {
      const int64_t g = g_idx[static_cast<size_t>(k)];
      const float expected =
          linear.scale(n, g) * static_cast<float>(linear.code(n, k) - (linear.zero(n, g) - 1));
      ASSERT_EQ(weights[static_cast<size_t>(n * 272 + k)], expected);
    }
  }
}

TEST(GptqInt4, DecodesTheExampleOfTheDocumentation) {
  const Int4Shape shape{.out = 1, .in = 8, .group_size = 8};
  const std::vector<int32_t> qweight = {0x76543210}, qzeros = {7};
  const std::vector<uint16_t> scales = {f32_to_f16(0.5f)};
  const Int4Tensors tensors{.shape = shape,
                            .qweight = view_of(DType::i32, shape.qweight(), qweight),
                            .qzeros = view_of(DType::i32, shape.qzeros(), qzeros),
                            .scales = view_of(DType::f16, shape.scales(), scales)};
  std::vector<float> weights(8);
  dequantize_int4(tensors, {0, 1}, weights.data());
  EXPECT_THAT(weights, testing::ElementsAre(-4.f, -3.5f, -3.f, -2.5f, -2.f, -1.5f, -1.f, -0.5f));
}

TEST(GptqInt4, SymmetricZerosAreEight) {
  NaiveLinear linear(11, 16, 8);
  std::fill(linear.qzeros.begin(), linear.qzeros.end(), kSymmetricZeros);
  std::vector<uint8_t> zeros(22);
  unpack_zeros(linear.tensors(), {0, 11}, zeros.data());
  EXPECT_THAT(zeros, testing::Each(8));
}

// Two linears of a real export and what auto-round's own layer decodes them to.
TEST(GptqInt4, DecodesAnAutoRoundExportAsAutoRoundDoes) {
  const std::filesystem::path directory =
      std::filesystem::path(QROUND_SOURCE_DIR) / "tests/data/checkpoint/autoround";
  const Checkpoint checkpoint = Checkpoint::open(directory);
  const SafetensorsFile expected(directory / "expected.safetensors");
  bool seen_negative_scale = false;
  for (const std::string linear : {"model.language_model.layers.3.self_attn.k_proj",
                                   "model.language_model.layers.0.mlp.experts.0.down_proj"}) {
    const Int4Tensors tensors = int4_tensors(checkpoint, linear, {.group_size = 128});
    EXPECT_FALSE(tensors.g_idx.has_value());
    std::vector<uint8_t> codes(static_cast<size_t>(tensors.shape.out * tensors.shape.in));
    unpack_codes(tensors, {0, tensors.shape.out}, codes.data());
    EXPECT_EQ(std::memcmp(codes.data(), expected.view(linear + ".codes").data, codes.size()), 0)
        << linear;
    if (expected.find(linear + ".weight") == nullptr) continue;
    std::vector<float> weights(codes.size());
    dequantize_int4(tensors, {0, tensors.shape.out}, weights.data());
    const std::vector<float> wanted = to_f32(expected.view(linear + ".weight"));
    EXPECT_EQ(weights, wanted) << linear;

    // Packing what was unpacked gives the bytes of the export.
    std::vector<int32_t> qweight(codes.size() / 8);
    pack_codes(tensors.shape, {0, tensors.shape.out}, codes.data(), qweight.data());
    EXPECT_EQ(std::memcmp(qweight.data(), tensors.qweight.data, tensors.qweight.bytes()), 0);
    for (const float scale : to_f32(tensors.scales)) seen_negative_scale |= scale < 0;
    EXPECT_EQ(tensors.qzeros.as<int32_t>()[0], kSymmetricZeros);
  }
  EXPECT_TRUE(seen_negative_scale);
}

// A checkpoint with the linear "p", of which tests replace single tensors.
class Int4Checkpoint {
 public:
  Int4Checkpoint() : linear_(16, 32, 8) {
    const Int4Tensors tensors = linear_.tensors();
    views_ = {
        {"p.qweight", tensors.qweight}, {"p.qzeros", tensors.qzeros}, {"p.scales", tensors.scales}};
  }
  void set(const std::string& name, const TensorView& view) { views_[name] = view; }
  void remove(const std::string& name) { views_.erase(name); }
  Checkpoint open() const {
    directory_.write("config.json", "{}");
    write_safetensors(directory_ / "model.safetensors", {views_.begin(), views_.end()});
    return Checkpoint::open(directory_.path());
  }
  Error refusal(const Int4Format& format = {.group_size = 8}) const {
    const Checkpoint checkpoint = open();
    const Error error = error_of([&] { int4_tensors(checkpoint, "p", format); });
    EXPECT_FALSE(error.file().empty());
    return error;
  }
  const NaiveLinear& linear() const { return linear_; }

 private:
  TestDirectory directory_;
  NaiveLinear linear_;
  std::map<std::string, TensorView> views_;
};

TEST(GptqInt4, NamesTheTensorThatContradictsTheOthers) {
  const std::vector<int32_t> words(256);
  {
    Int4Checkpoint checkpoint;
    checkpoint.remove("p.scales");
    EXPECT_EQ(checkpoint.refusal().tensor(), "p.scales");
  }
  {
    Int4Checkpoint checkpoint;
    checkpoint.set("p.scales", view_of(DType::bf16, {4, 16}, words));
    const Error error = checkpoint.refusal();
    EXPECT_EQ(error.tensor(), "p.scales");
    EXPECT_EQ(error.expected(), "F16 [4, 16]");
    EXPECT_EQ(error.actual(), "BF16 [4, 16]");
  }
  {
    Int4Checkpoint checkpoint;
    checkpoint.set("p.qzeros", view_of(DType::i32, {2, 4}, words));
    EXPECT_EQ(checkpoint.refusal().tensor(), "p.qzeros");
  }
  {
    Int4Checkpoint checkpoint;
    checkpoint.set("p.qweight", view_of(DType::i32, {64}, words));
    EXPECT_EQ(checkpoint.refusal().tensor(), "p.qweight");
  }
  {
    Int4Checkpoint checkpoint;
    checkpoint.set("p.qweight", view_of(DType::u32, {4, 16}, words));
    EXPECT_EQ(checkpoint.refusal().tensor(), "p.qweight");
  }
  EXPECT_EQ(Int4Checkpoint().refusal({.group_size = 128}).tensor(), "p.scales");
  EXPECT_THAT(Int4Checkpoint().refusal({.group_size = 0}).message(), HasSubstr("group size"));
}

TEST(GptqInt4, ChecksAGroupIndexAndDropsATrivialOne) {
  std::vector<int32_t> g_idx(32);
  for (size_t k = 0; k < 32; ++k) g_idx[k] = static_cast<int32_t>(k / 8);
  Int4Checkpoint checkpoint;
  checkpoint.set("p.g_idx", view_of(DType::i32, {32}, g_idx));
  EXPECT_FALSE(int4_tensors(checkpoint.open(), "p", {.group_size = 8}).g_idx.has_value());
  std::swap(g_idx[0], g_idx[31]);
  {
    const Checkpoint opened = checkpoint.open();
    const Int4Tensors tensors = int4_tensors(opened, "p", {.group_size = 8});
    ASSERT_TRUE(tensors.g_idx.has_value());
    std::vector<float> weights(32);
    dequantize_int4(tensors, {3, 4}, weights.data());
    EXPECT_EQ(weights[0], checkpoint.linear().weight(3, 0, 3));
    EXPECT_EQ(weights[1], checkpoint.linear().weight(3, 1, 0));
  }
  g_idx[5] = 4;
  EXPECT_EQ(checkpoint.refusal().actual(), "4 for input 5");
  g_idx[5] = -1;
  EXPECT_EQ(checkpoint.refusal().tensor(), "p.g_idx");
  checkpoint.set("p.g_idx", view_of(DType::i32, {31}, g_idx));
  EXPECT_EQ(checkpoint.refusal().expected(), "I32 [32]");
}

TEST(GptqInt4, ReadsOneGroupARow) {
  const NaiveLinear linear(16, 32, 32);
  EXPECT_EQ(linear.shape.n_groups(), 1);
  Int4Checkpoint checkpoint;
  const Int4Tensors tensors = linear.tensors();
  checkpoint.set("p.qweight", tensors.qweight);
  checkpoint.set("p.qzeros", tensors.qzeros);
  checkpoint.set("p.scales", tensors.scales);
  EXPECT_EQ(int4_tensors(checkpoint.open(), "p", {.group_size = -1}).shape.group_size, 32);
}

}  // namespace
}  // namespace qround
