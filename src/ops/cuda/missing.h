// Table entries of operations that the CUDA backend does not have.
#pragma once

#include "base/error.h"

namespace qround::ops::cuda {

template <typename Function>
struct Missing;

template <typename Result, typename... Operands>
struct Missing<Result(Operands...)> {
  [[noreturn]] static Result call(Operands...) {
    throw Error("the cuda backend lacks an operation").hint("use --backend cpu");
  }
};

}  // namespace qround::ops::cuda
