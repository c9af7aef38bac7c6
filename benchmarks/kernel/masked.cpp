// A matrix of bfloat16 kept as a bit mask and the values that are left, times one to four vectors.
//
// Of row r, 32 columns a word: bit i of words[r][w] says whether column 32 w + i is kept. Its kept
// values lie one after another from values[starts[r]]; 64 bytes after the last may be read. Columns
// are filled up to whole words with bits that are 0. The products are summed in float32.

#include <torch/extension.h>

#include <ATen/Parallel.h>
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <vector>

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

bool has_avx512() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bf16");
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

template <int B>
Row<B> find_row(const std::string& path) {
  if (path == "avx512") return row_avx512<B>;
  return path == "avx2" ? row_avx2<B> : row_portable<B>;
}

template <int B>
void multiply_rows(
    const Matrix& m, Row<B> row, const uint16_t* x, const uint16_t* bias, uint16_t* out,
    int64_t rows) {
  // About 64 KiB of words and values a piece: fewer would cost more than they share out.
  const int64_t grain = std::max<int64_t>(1, 32768 / (m.width * 16));
  at::parallel_for(0, rows, grain, [&](int64_t first, int64_t last) {
    float sums[B];
    for (int64_t r = first; r < last; ++r) {
      row(m, r, x, sums);
      for (int b = 0; b < B; ++b) {
        out[b * rows + r] = narrow(bias == nullptr ? sums[b] : sums[b] + widen(bias[r]));
      }
    }
  });
}

std::vector<std::string> paths() {
  std::vector<std::string> found;
  if (has_avx512()) found.push_back("avx512");
  if (has_avx2()) found.push_back("avx2");
  found.push_back("portable");
  return found;
}

// x [batch, columns], batch at most 4, columns a multiple of 32 -> [batch, rows].
torch::Tensor multiply(
    const torch::Tensor& words, const torch::Tensor& values, const torch::Tensor& starts,
    const torch::Tensor& x, const c10::optional<torch::Tensor>& bias, const std::string& path) {
  const int64_t batch = x.size(0), rows = words.size(0);
  TORCH_CHECK(x.dtype() == torch::kBFloat16 && x.is_contiguous(), "x: contiguous bfloat16");
  TORCH_CHECK(x.size(1) == 32 * words.size(1), "x: ", 32 * words.size(1), " columns");
  const Matrix m{
      reinterpret_cast<const uint32_t*>(words.data_ptr<int32_t>()),
      reinterpret_cast<const uint16_t*>(values.data_ptr<int16_t>()), starts.data_ptr<int64_t>(),
      words.size(1)};
  torch::Tensor out = torch::empty({batch, rows}, x.options());
  const auto* in = reinterpret_cast<const uint16_t*>(x.data_ptr<at::BFloat16>());
  auto* made = reinterpret_cast<uint16_t*>(out.data_ptr<at::BFloat16>());
  const uint16_t* added = nullptr;
  if (bias.has_value()) {
    added = reinterpret_cast<const uint16_t*>(bias->data_ptr<at::BFloat16>());
  }
  switch (batch) {
    case 1: multiply_rows<1>(m, find_row<1>(path), in, added, made, rows); break;
    case 2: multiply_rows<2>(m, find_row<2>(path), in, added, made, rows); break;
    case 3: multiply_rows<3>(m, find_row<3>(path), in, added, made, rows); break;
    case 4: multiply_rows<4>(m, find_row<4>(path), in, added, made, rows); break;
    default: TORCH_CHECK(false, "x: a batch of 1 to 4");
  }
  return out;
}

// A pass over bytes that does nothing but read them: what the memory gives.
double read_all(const torch::Tensor& data) {
  const auto* all = reinterpret_cast<const uint64_t*>(data.data_ptr());
  const int64_t count = data.nbytes() / 8;
  std::atomic<uint64_t> sum{0};
  at::parallel_for(0, count, 1 << 16, [&](int64_t first, int64_t last) {
    uint64_t own[8] = {};
    int64_t i = first;
    for (; i + 8 <= last; i += 8) {
      for (int k = 0; k < 8; ++k) own[k] += all[i + k];
    }
    for (int k = 0; k < 8; ++k) sum += own[k];
  });
  return static_cast<double>(sum.load());
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("multiply", &multiply);
  m.def("paths", &paths);
  m.def("read_all", &read_all);
}
