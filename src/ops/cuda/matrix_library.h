// Products of large dense bf16 matrices by cublasLt, where this machine has it: opened when first
// asked for, so that programs start without it, and what it does not take is left to the caller.
//
// A row's bits must not depend on how many rows come with it (OpContext::many_rows). So the
// algorithm is the one the library finds best for kTypicalRows, whatever there are, and of those
// that sum a result in one go.
// Tests replace this header by tests/cuda_emulation/include/ops/cuda/matrix_library.h.
#pragma once

#include <cublasLt.h>
#include <dlfcn.h>

#include <string>

#include "ops/cuda/bf16_matrix.h"
#include "ops/cuda/stream.h"

namespace qround::ops::cuda {

// D [rows, columns] = A B, f32, row-major, contiguous.
struct LibraryProduct {
  Bf16Matrix a;  // [rows, depth]
  Bf16Matrix b;  // [columns, depth], or, by_depth, [depth, columns]
  bool by_depth = false;
  float* d = nullptr;
  bool add = false;  // to what D is
};

inline constexpr uint64_t kTypicalRows = 8192;
// Scratch of a product.
inline constexpr size_t kLibraryScratchBytes = size_t{32} << 20;

// The functions of the library; all null where it is missing.
class CublasLt {
 public:
  static const CublasLt& instance() {
    static const CublasLt library;  // never changes
    return library;
  }

  bool is_there() const { return handle_ != nullptr; }
  cublasLtHandle_t handle() const { return handle_; }

  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtMatmulDescCreate) create_operation = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_operation = nullptr;
  decltype(&cublasLtMatmulDescDestroy) destroy_operation = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) create_layout = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) find_algorithm = nullptr;
  decltype(&cublasLtMatmul) multiply = nullptr;

 private:
  CublasLt() {
    const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
    void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    const bool complete = find(library, "cublasLtCreate", create) &&
                          find(library, "cublasLtMatmulDescCreate", create_operation) &&
                          find(library, "cublasLtMatmulDescSetAttribute", set_operation) &&
                          find(library, "cublasLtMatmulDescDestroy", destroy_operation) &&
                          find(library, "cublasLtMatrixLayoutCreate", create_layout) &&
                          find(library, "cublasLtMatrixLayoutDestroy", destroy_layout) &&
                          find(library, "cublasLtMatmulPreferenceCreate", create_preference) &&
                          find(library, "cublasLtMatmulPreferenceSetAttribute", set_preference) &&
                          find(library, "cublasLtMatmulPreferenceDestroy", destroy_preference) &&
                          find(library, "cublasLtMatmulAlgoGetHeuristic", find_algorithm) &&
                          find(library, "cublasLtMatmul", multiply);
    if (!complete || create(&handle_) != CUBLAS_STATUS_SUCCESS) handle_ = nullptr;
  }

  template <typename Function>
  static bool find(void* library, const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library, name));
    return function != nullptr;
  }

  cublasLtHandle_t handle_ = nullptr;
};

// The descriptions of one product. The library counts columns first: D^T = B^T A^T.
class ProductDescription {
 public:
  ProductDescription(const CublasLt& library, const LibraryProduct& product) : library_(library) {
    const Bf16Matrix &a = product.a, &b = product.b;
    const auto depth = static_cast<uint64_t>(a.columns), rows = static_cast<uint64_t>(a.rows);
    const auto columns = static_cast<uint64_t>(product.by_depth ? b.columns : b.rows);
    const cublasOperation_t b_is = product.by_depth ? CUBLAS_OP_N : CUBLAS_OP_T;
    good_ =
        succeeds(library.create_operation(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F)) &&
        succeeds(
            library.set_operation(operation, CUBLASLT_MATMUL_DESC_TRANSA, &b_is, sizeof(b_is))) &&
        succeeds(library.create_layout(&b_layout, CUDA_R_16BF, product.by_depth ? columns : depth,
                                       product.by_depth ? depth : columns, b.stride)) &&
        succeeds(library.create_layout(&a_layout, CUDA_R_16BF, depth, rows, a.stride)) &&
        succeeds(library.create_layout(&d_layout, CUDA_R_32F, columns, rows,
                                       static_cast<int64_t>(columns))) &&
        succeeds(library.create_preference(&preference)) &&
        succeeds(library.set_preference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                        &kLibraryScratchBytes, sizeof(kLibraryScratchBytes)));
  }
  ~ProductDescription() {
    if (preference != nullptr) library_.destroy_preference(preference);
    for (const cublasLtMatrixLayout_t layout :
         {a_layout, b_layout, d_layout, typical_a_layout, typical_d_layout})
      if (layout != nullptr) library_.destroy_layout(layout);
    if (operation != nullptr) library_.destroy_operation(operation);
  }
  ProductDescription(const ProductDescription&) = delete;
  ProductDescription& operator=(const ProductDescription&) = delete;

  bool is_good() const { return good_; }

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a_layout = nullptr, b_layout = nullptr, d_layout = nullptr;
  cublasLtMatrixLayout_t typical_a_layout = nullptr, typical_d_layout = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;

 private:
  static constexpr uint32_t kNoReduction = CUBLASLT_REDUCTION_SCHEME_NONE;

  static bool succeeds(cublasStatus_t status) { return status == CUBLAS_STATUS_SUCCESS; }

  const CublasLt& library_;
  bool good_ = false;
};

// False: nothing was done. Enqueued; scratch: kLibraryScratchBytes.
inline bool library_multiply(const LibraryProduct& product, std::byte* scratch, Stream* stream) {
  if (is_rehearsal(stream)) return true;
  const CublasLt& library = CublasLt::instance();
  if (!library.is_there() || !product.a.aligned() || !product.b.aligned()) return false;
  const ProductDescription description(library, product);
  if (!description.is_good()) return false;
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t searched = library.find_algorithm(
      library.handle(), description.operation, description.b_layout, description.typical_a_layout,
      description.typical_d_layout, description.typical_d_layout, description.preference, 1, &found,
      &count);
  if (searched != CUBLAS_STATUS_SUCCESS || count == 0) return false;
  const float one = 1, beta = product.add ? 1 : 0;
  return library.multiply(library.handle(), description.operation, &one, product.b.data,
                          description.b_layout, product.a.data, description.a_layout, &beta,
                          product.d, description.d_layout, product.d, description.d_layout,
                          &found.algo, scratch, kLibraryScratchBytes,
                          handle(stream)) == CUBLAS_STATUS_SUCCESS;
}

}  // namespace qround::ops::cuda
