// A matrix of bfloat16 kept as a bit mask and the values that are left, times one to four vectors.
//
// Of row r, 32 columns a word: bit i of words[r][w] says whether column 32 w + i is kept. Its kept
// values lie one after another from values[starts[r]]; 64 bytes after the last may be read. Columns
// are filled up to whole words with bits that are 0. The products are summed in float32.
//
// Three paths give the same: AVX-512 (VBMI2 spreads 32 values out under a mask, BF16 multiplies
// them), AVX2 (a table of byte shuffles spreads out eight), and plain C++ for any machine. Numbers
// below 2^-126 count as zero, in weights, inputs and sums: AVX-512's product knows no others. A zero
// times an infinity is NaN, which only a path that multiplies zeros would see: such inputs are not
// taken. Sums are made in another order by each path, so they may round otherwise, or overflow.

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

struct Matrix {
  const uint32_t* words;
  const uint16_t* values;
  const int64_t* starts;
  int64_t width;  // words a row
};

// x: batch vectors of 32 width bfloat16 each, one after another.
template <int B>
using Row = void (*)(const Matrix&, int64_t row, const uint16_t* x, float* sums);

inline float widen(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float found;
  std::memcpy(&found, &bits, 4);
  return found;
}

inline uint16_t narrow(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);  // NaN
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to nearest even
}

template <int B>
void row_portable(const Matrix& m, int64_t row, const uint16_t* x, float* sums) {
  const uint32_t* words = m.words + row * m.width;
  const uint16_t* value = m.values + m.starts[row];
  for (int b = 0; b < B; ++b) sums[b] = 0;
  for (int64_t w = 0; w < m.width; ++w) {
    for (uint32_t left = words[w]; left != 0; left &= left - 1) {
      const int64_t column = 32 * w + __builtin_ctz(left);
      const float weight = widen(*value++);
      for (int b = 0; b < B; ++b) sums[b] += weight * widen(x[b * 32 * m.width + column]);
    }
  }
}

#if defined(__x86_64__)

// Eight bits of a mask -> where in the next eight values each column finds its own, as bytes of a
// shuffle; 0x80 gives a zero.
struct Shuffles {
  alignas(64) uint8_t bytes[256][16];
  Shuffles() {
    for (int mask = 0; mask < 256; ++mask) {
      int next = 0;
      for (int i = 0; i < 8; ++i) {
        const bool kept = mask >> i & 1;
        bytes[mask][2 * i] = kept ? static_cast<uint8_t>(2 * next) : 0x80;
        bytes[mask][2 * i + 1] = kept ? static_cast<uint8_t>(2 * next + 1) : 0x80;
        next += kept;
      }
    }
  }
};

const Shuffles shuffles;

__attribute__((target("avx2,fma"))) inline __m256 widen8(__m128i values) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(values), 16));
}

template <int B>
__attribute__((target("avx2,fma,popcnt"))) void row_avx2(
    const Matrix& m, int64_t row, const uint16_t* x, float* sums) {
  const uint32_t* words = m.words + row * m.width;
  const uint16_t* value = m.values + m.starts[row];
  __m256 found[B][2];
  for (int b = 0; b < B; ++b) found[b][0] = found[b][1] = _mm256_setzero_ps();
  for (int64_t w = 0; w < m.width; ++w) {
    const uint32_t word = words[w];
    for (int part = 0; part < 4; ++part) {
      const uint32_t mask = word >> (8 * part) & 255;
      const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(value));
      const __m128i order = _mm_load_si128(reinterpret_cast<const __m128i*>(shuffles.bytes[mask]));
      const __m256 weights = widen8(_mm_shuffle_epi8(next, order));
      value += _mm_popcnt_u32(mask);
      for (int b = 0; b < B; ++b) {
        const uint16_t* at = x + b * 32 * m.width + 32 * w + 8 * part;
        const __m256 inputs = widen8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
        found[b][part & 1] = _mm256_fmadd_ps(weights, inputs, found[b][part & 1]);
      }
    }
  }
  for (int b = 0; b < B; ++b) {
    const __m256 both = _mm256_add_ps(found[b][0], found[b][1]);
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    sums[b] = _mm_cvtss_f32(_mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1)));
  }
}

template <int B>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,avx512bf16,popcnt"))) void row_avx512(
    const Matrix& m, int64_t row, const uint16_t* x, float* sums) {
  const uint32_t* words = m.words + row * m.width;
  const uint16_t* value = m.values + m.starts[row];
  __m512 found[B][2];
  for (int b = 0; b < B; ++b) found[b][0] = found[b][1] = _mm512_setzero_ps();
  int64_t w = 0;
  for (; w + 1 < m.width; w += 2) {
    for (int part = 0; part < 2; ++part) {
      const uint32_t mask = words[w + part];
      const __m512i next = _mm512_loadu_si512(value);
      const __m512bh weights = (__m512bh)_mm512_maskz_expand_epi16(mask, next);
      _mm_prefetch(reinterpret_cast<const char*>(value) + 2048, _MM_HINT_T0);
      value += _mm_popcnt_u32(mask);
      for (int b = 0; b < B; ++b) {
        const __m512i inputs = _mm512_loadu_si512(x + b * 32 * m.width + 32 * (w + part));
        found[b][part] = _mm512_dpbf16_ps(found[b][part], weights, (__m512bh)inputs);
      }
    }
  }
  if (w < m.width) {
    const __m512i next = _mm512_loadu_si512(value);
    const __m512bh weights = (__m512bh)_mm512_maskz_expand_epi16(words[w], next);
    for (int b = 0; b < B; ++b) {
      const __m512i inputs = _mm512_loadu_si512(x + b * 32 * m.width + 32 * w);
      found[b][0] = _mm512_dpbf16_ps(found[b][0], weights, (__m512bh)inputs);
    }
  }
  for (int b = 0; b < B; ++b) {
    sums[b] = _mm512_reduce_add_ps(_mm512_add_ps(found[b][0], found[b][1]));
  }
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,popcnt"))) void expand_avx512(
    const Matrix& m, int64_t row, uint16_t* out) {
  const uint32_t* words = m.words + row * m.width;
  const uint16_t* value = m.values + m.starts[row];
  for (int64_t w = 0; w < m.width; ++w) {
    const __m512i next = _mm512_loadu_si512(value);
    _mm512_storeu_si512(out + 32 * w, _mm512_maskz_expand_epi16(words[w], next));
    value += _mm_popcnt_u32(words[w]);
  }
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bf16");
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

#endif

void expand_portable(const Matrix& m, int64_t row, uint16_t* out) {
  const uint16_t* value = m.values + m.starts[row];
  for (int64_t w = 0; w < m.width; ++w) {
    const uint32_t word = m.words[row * m.width + w];
    for (int i = 0; i < 32; ++i) {
      const uint32_t kept = word >> i & 1;
      out[32 * w + i] = kept ? *value : 0;
      value += kept;
    }
  }
}

enum Path { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

template <int B>
Row<B> find_row(int path) {
#if defined(__x86_64__)
  if (path == kAvx512) return row_avx512<B>;
  if (path == kAvx2) return row_avx2<B>;
#endif
  return row_portable<B>;
}

// Inside, this thread takes numbers below 2^-126 as zero.
struct WithoutSubnormals {
#if defined(__x86_64__)
  const unsigned before = _mm_getcsr();
  WithoutSubnormals() { _mm_setcsr(before | 0x8040); }  // flush results, and inputs
  ~WithoutSubnormals() { _mm_setcsr(before); }
#endif
};

bool all_finite(const uint16_t* x, int64_t count) {
  unsigned odd = 0;
  for (int64_t i = 0; i < count; ++i) odd |= (x[i] & 0x7f80u) == 0x7f80u;
  return odd == 0;
}

template <int B>
void multiply_rows(
    const Matrix& m, int path, const uint16_t* x, const uint16_t* bias, uint16_t* out,
    int64_t rows, int threads) {
  const Row<B> row = find_row<B>(path);
#pragma omp parallel num_threads(threads)
  {
    const WithoutSubnormals here;
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r) {
      float sums[B];
      row(m, r, x, sums);
      for (int b = 0; b < B; ++b) {
        out[b * rows + r] = narrow(bias == nullptr ? sums[b] : sums[b] + widen(bias[r]));
      }
    }
  }
}

}  // namespace

extern "C" {

// The fastest path that this machine has.
int mwanda_best_path() {
#if defined(__x86_64__)
  if (has_avx512()) return kAvx512;
  if (has_avx2()) return kAvx2;
#endif
  return kPortable;
}

// x [batch, 32 width] -> out [batch, rows], both bfloat16; batch is 1 to 4, bias may be null.
// 0 where x holds an infinity or NaN: then nothing is done.
int mwanda_multiply(
    const uint32_t* words, const uint16_t* values, const int64_t* starts, int64_t rows,
    int64_t width, const uint16_t* x, int64_t batch, const uint16_t* bias, uint16_t* out, int path,
    int threads) {
  if (!all_finite(x, batch * 32 * width)) return 0;
  const Matrix m{words, values, starts, width};
  switch (batch) {
    case 1: multiply_rows<1>(m, path, x, bias, out, rows, threads); break;
    case 2: multiply_rows<2>(m, path, x, bias, out, rows, threads); break;
    case 3: multiply_rows<3>(m, path, x, bias, out, rows, threads); break;
    case 4: multiply_rows<4>(m, path, x, bias, out, rows, threads); break;
  }
  return 1;
}

// The dense matrix again, bfloat16 [rows, 32 width].
void mwanda_expand(
    const uint32_t* words, const uint16_t* values, const int64_t* starts, int64_t rows,
    int64_t width, uint16_t* out, int path, int threads) {
  const Matrix m{words, values, starts, width};
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) {
#if defined(__x86_64__)
    if (path == kAvx512) {
      expand_avx512(m, r, out + r * 32 * width);
      continue;
    }
#endif
    expand_portable(m, r, out + r * 32 * width);
  }
}

}  // extern "C"
