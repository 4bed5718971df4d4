// Work that recurses deeper than a usual thread's stack allows.
#pragma once

#include <cstddef>
#include <functional>

namespace smith {

// Does `work` in a thread of its own, whose stack has room for `bytes` more than a usual one, and waits for it. Memory is taken
// only as far as the stack grows. What it throws is thrown here. Throws NotEnoughMemory if there is no such thread.
void on_deep_stack(std::size_t bytes, const std::function<void()> & work);

}  // namespace smith
