// Run-time choice of the instruction set, so that one portable library is fast on every x86-64.
#pragma once

// A function marked VML_CLONES is compiled once per instruction set and the loader picks the best.
// Loops in it must be plain enough for the compiler to vectorise. Sanitizers cannot run inside the
// loader, and other platforms have no ifunc: there it is an ordinary function.
#if !defined(__x86_64__) || !defined(__gnu_linux__) || defined(VML_FAST_NO_CLONES)
#define VML_CLONES
#elif defined(__clang__) || __GNUC__ < 12
#define VML_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else  // whole levels: v3 has fused multiply-adds too, v4 long vectors of 16-bit numbers
#define VML_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

// What a VML_CLONES function calls must be part of it, or it runs with the oldest instructions.
#define VML_INLINE inline __attribute__((always_inline))

#define VML_RESTRICT __restrict__
