// Elements of two vectors in another order: VML_SHUFFLE(a, b, i0, i1, ...), where i counts on from
// a into b. GCC knows the builtin of clang from version 12 on.
#pragma once

#if __has_builtin(__builtin_shufflevector)
#define VML_SHUFFLE __builtin_shufflevector
#else
#define VML_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, decltype((a) < (b)){__VA_ARGS__})
#endif
