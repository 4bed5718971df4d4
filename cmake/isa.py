"""Instruction sets: upstream's switches, compilers' flags and macros, and the features behind them."""

from __future__ import annotations

# Upstream's switch (GGML_<name>) -> what its ggml-cpu/CMakeLists.txt tells GCC and Clang for it, and the features
# (names of src/machine/cpu.c) that code compiled so may use.
X86_SWITCHES = {
    "SSE42": ("-msse4.2", "sse3 ssse3 sse4_1 sse4_2 popcnt"),
    "AVX": ("-mavx", "avx"),
    "AVX2": ("-mavx2", "avx2"),
    "BMI2": ("-mbmi2", "bmi2"),
    "AVX_VNNI": ("-mavxvnni", "avx_vnni"),
    "FMA": ("-mfma", "fma"),
    "F16C": ("-mf16c", "f16c"),
    "AVX512": (
        "-mavx512f -mavx512cd -mavx512vl -mavx512dq -mavx512bw",
        "avx512f avx512cd avx512vl avx512dq avx512bw",
    ),
    "AVX512_VBMI": ("-mavx512vbmi", "avx512vbmi"),
    "AVX512_VNNI": ("-mavx512vnni", "avx512_vnni"),
    "AVX512_BF16": ("-mavx512bf16", "avx512_bf16"),
    "AMX_TILE": ("-mamx-tile", "amx_tile"),
    "AMX_INT8": ("-mamx-int8", "amx_int8"),
    "AMX_BF16": ("-mamx-bf16", "amx_bf16"),
}

# What a compiler defines -> the feature that it then may use. The build stops where a variant's needs lack one.
MACROS = {
    "__SSE3__": "sse3", "__SSSE3__": "ssse3", "__SSE4_1__": "sse4_1", "__SSE4_2__": "sse4_2", "__POPCNT__": "popcnt",
    "__AVX__": "avx", "__F16C__": "f16c", "__FMA__": "fma", "__AVX2__": "avx2", "__BMI__": "bmi1", "__BMI2__": "bmi2",
    "__LZCNT__": "abm", "__MOVBE__": "movbe", "__AVXVNNI__": "avx_vnni", "__AVX512F__": "avx512f",
    "__AVX512CD__": "avx512cd", "__AVX512VL__": "avx512vl", "__AVX512DQ__": "avx512dq", "__AVX512BW__": "avx512bw",
    "__AVX512VBMI__": "avx512vbmi", "__AVX512VNNI__": "avx512_vnni", "__AVX512BF16__": "avx512_bf16",
    "__AVX512FP16__": "avx512_fp16", "__AVX512IFMA__": "avx512ifma", "__AVX512VBMI2__": "avx512_vbmi2",
    "__AMX_TILE__": "amx_tile", "__AMX_INT8__": "amx_int8", "__AMX_BF16__": "amx_bf16", "__AES__": "aes",
    "__FMA4__": "fma4", "__XOP__": "xop", "__TBM__": "tbm", "__ADX__": "adx",
    "__ARM_FEATURE_ATOMICS": "atomics", "__ARM_FEATURE_CRC32": "crc32", "__ARM_FEATURE_QRDMX": "asimdrdm",
    "__ARM_FEATURE_DOTPROD": "asimddp", "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp",
    "__ARM_FEATURE_FP16_FML": "asimdfhm", "__ARM_FEATURE_JCVT": "jscvt", "__ARM_FEATURE_COMPLEX": "fcma",
    "__ARM_FEATURE_RCPC": "lrcpc", "__ARM_FEATURE_PAUTH": "paca", "__ARM_FEATURE_MATMUL_INT8": "i8mm",
    "__ARM_FEATURE_BF16_VECTOR_ARITHMETIC": "bf16", "__ARM_FEATURE_SVE": "sve",
    "__ARM_FEATURE_SVE_MATMUL_INT8": "svei8mm", "__ARM_FEATURE_SVE_BF16": "svebf16", "__ARM_FEATURE_SVE2": "sve2",
    "__ARM_FEATURE_SME": "sme", "__ARM_FEATURE_AES": "aes", "__ARM_FEATURE_SHA2": "sha2",
}  # fmt: skip
