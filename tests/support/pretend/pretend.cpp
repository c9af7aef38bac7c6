// A pretend accelerator for the tests: torch's PrivateUse1 backend on host memory.
//
// Every operation is the CPU's, on the same bytes with the same strides, so results are the CPU's
// bit for bit. What differs is what an accelerator punishes:
//
// * A tensor's pointer leads to poison (0xFF: NaN in every floating dtype), its values lie
//   elsewhere. New memory is poison too.
// * An operation that is given host tensors beside tensors of the device fails, as does a CPU
//   generator. Plain numbers may be mixed.
// * Copies to and from the host are counted, and so is whatever makes the host wait for a value.
// * Every stream has a clock (vector clocks): an operation that uses what another stream writes,
//   without having waited for it, fails; memory that is freed while another stream may use it, and
//   was not told so, is a fault.
// * With `pretend_delay(1)` copies that do not block happen late: to the host when it waits, and
//   until then poison lies there; to the device when an operation uses them.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <ATen/EmptyTensor.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/histc.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

namespace {

using c10::DeviceType;
constexpr auto kKind = DeviceType::PrivateUse1;
constexpr int kDevices = 2;
constexpr unsigned char kPoison = 0xFF;
using Clock = std::vector<uint64_t>;

struct Moment {
  int stream = -1;
  uint64_t time = 0;
};

struct Block {
  char* real;
  char* poison;
  size_t size;
  int device;
  int stream;
  Moment written;
  std::map<int, uint64_t> used;
  std::set<int> recorded;
};

enum Kind { kToDevice, kToHost, kRead };
using Told = void (*)(int kind, int64_t bytes, const char* what);

// A copy that was asked for and has not happened.
struct Pending {
  at::Tensor target, source;
  bool to_host;
  Moment when;
  Block* block;  // the target's on the device, else null
};

struct World {
  std::mutex lock;
  int64_t counts[6] = {0, 0, 0, 0, 0, 0};  // to device, bytes, to host, bytes, reads, faults
  int64_t now[kDevices] = {0, 0}, most[kDevices] = {0, 0};
  int64_t limit = 0;
  int64_t pinned = 0, pinned_most = 0;
  std::map<const char*, size_t> pins;
  std::vector<Clock> clocks{Clock(1, 0)};
  Clock host;
  std::list<Pending> pending;
  bool delayed = false;
  bool float64 = true;
  bool bfloat16 = true;
  bool pinnable = true;
  std::string fault;
  Told told = nullptr;
};

World& world() {
  static auto* one = new World;
  return *one;
}

thread_local int current_device = 0;
thread_local int current_stream[kDevices] = {0, 0};

void merge(Clock& into, const Clock& other) {
  if (into.size() < other.size()) into.resize(other.size(), 0);
  for (size_t i = 0; i < other.size(); i++) into[i] = std::max(into[i], other[i]);
}

uint64_t at_clock(const Clock& clock, int stream) {
  return size_t(stream) < clock.size() ? clock[stream] : 0;
}

void note_fault(const std::string& what) {
  world().counts[5]++;
  if (world().fault.empty()) world().fault = what;
}

void tell(Kind kind, int64_t bytes, const std::string& what) {
  auto& w = world();
  Told told;
  {
    std::lock_guard<std::mutex> hold(w.lock);
    if (kind == kRead) {
      w.counts[4]++;
    } else {
      w.counts[2 * kind]++;
      w.counts[2 * kind + 1] += bytes;
    }
    told = w.told;
  }
  if (told) told(kind, bytes, what.c_str());
}

// ---------------------------------------------------------------- memory

void free_block(void* context) {
  auto* block = static_cast<Block*>(context);
  auto& w = world();
  std::lock_guard<std::mutex> hold(w.lock);
  for (const auto& [stream, time] : block->used) {
    bool known = stream == block->stream || block->recorded.count(stream) ||
        at_clock(w.clocks[block->stream], stream) >= time || at_clock(w.host, stream) >= time;
    if (!known) note_fault("memory freed while another stream may use it: record_stream is missing");
  }
  const auto* poison = block->poison;
  const bool whole = !block->size ||
      (static_cast<unsigned char>(*poison) == kPoison && !std::memcmp(poison, poison + 1, block->size - 1));
  if (!whole) note_fault("the host wrote to memory of the device");
  w.now[block->device] -= int64_t(block->size);
  std::free(block->real);
  std::free(block->poison);
  delete block;
}

struct DeviceMemory final : c10::DeviceAllocator {
  c10::DataPtr allocate(size_t size) override {
    auto& w = world();
    std::lock_guard<std::mutex> hold(w.lock);
    if (w.limit && w.now[current_device] + int64_t(size) > w.limit) {
      TORCH_CHECK_WITH(OutOfMemoryError, false, "pretend out of memory: tried to allocate ", size);
    }
    auto* block = new Block{
        static_cast<char*>(std::malloc(std::max<size_t>(size, 1))),
        static_cast<char*>(std::malloc(std::max<size_t>(size, 1))),
        size, current_device, current_stream[current_device], {}, {}, {}};
    std::memset(block->real, kPoison, size);
    std::memset(block->poison, kPoison, size);
    auto& now = w.now[current_device];
    now += int64_t(size);
    w.most[current_device] = std::max(w.most[current_device], now);
    return {block->poison, block, &free_block, c10::Device(kKind, c10::DeviceIndex(current_device))};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t count) const override {
    TORCH_CHECK(false, "pretend: memory is copied by tensors only");
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr& data, c10::Stream stream) override {
    if (data.get_deleter() != &free_block) return;
    std::lock_guard<std::mutex> hold(world().lock);
    static_cast<Block*>(data.get_context())->recorded.insert(int(stream.id()));
  }
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> hold(world().lock);
    c10::CachingDeviceAllocator::DeviceStats stats;
    auto& bytes = stats.allocated_bytes[size_t(c10::CachingAllocator::StatType::AGGREGATE)];
    bytes.current = world().now[device];
    bytes.peak = world().most[device];
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> hold(world().lock);
    world().most[device] = world().now[device];
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    size_t total = world().limit ? size_t(world().limit) : size_t(1) << 34;
    return {total - size_t(world().now[device]), total};
  }
};

void free_pinned(void* data) {
  auto& w = world();
  std::lock_guard<std::mutex> hold(w.lock);
  auto found = w.pins.find(static_cast<char*>(data));
  if (found != w.pins.end()) {
    w.pinned -= int64_t(found->second);
    w.pins.erase(found);
  }
  std::free(data);
}

struct PinnedMemory final : at::HostAllocator {
  c10::DataPtr allocate(size_t size) override {
    auto& w = world();
    TORCH_CHECK(w.pinnable, "pretend: this kind pins no memory");
    auto* data = static_cast<char*>(std::aligned_alloc(64, (std::max<size_t>(size, 1) + 63) / 64 * 64));
    std::lock_guard<std::mutex> hold(w.lock);
    w.pins[data] = size;
    w.pinned += int64_t(size);
    w.pinned_most = std::max(w.pinned_most, w.pinned);
    return {data, data, &free_pinned, c10::Device(DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_pinned; }
  void copy_data(void* to, const void* from, size_t count) const override {
    std::memcpy(to, from, count);
  }
  bool record_event(void*, void*, c10::Stream) override { return true; }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}
};

DeviceMemory device_memory;
PinnedMemory pinned_memory;
const bool registered = [] {
  c10::SetAllocator(kKind, &device_memory);
  at::setHostAllocator(kKind, &pinned_memory);
  return true;
}();

bool is_pinned_pointer(const void* data) {
  auto& w = world();
  std::lock_guard<std::mutex> hold(w.lock);
  auto next = w.pins.upper_bound(static_cast<const char*>(data));
  if (next == w.pins.begin()) return false;
  --next;
  return static_cast<const char*>(data) < next->first + std::max<size_t>(next->second, 1);
}

// ---------------------------------------------------------------- time

Block* block_of(const at::Tensor& tensor) {
  const auto& data = tensor.storage().data_ptr();
  return data.get_deleter() == &free_block ? static_cast<Block*>(data.get_context()) : nullptr;
}

at::Tensor on_host(const at::Tensor& tensor) {
  auto* block = block_of(tensor);
  char* start = block ? block->real + tensor.storage_offset() * int64_t(tensor.itemsize()) : nullptr;
  return at::from_blob(
      start, tensor.sizes(), tensor.strides(), [](void*) {}, tensor.options().device(DeviceType::CPU),
      c10::Device(DeviceType::CPU));
}

// Both are called with the lock held.
void happen(Pending& one) {
  if (one.to_host) {
    one.target.copy_(one.source);
  } else {
    on_host(one.target).copy_(one.source);
  }
}

void host_waits(const Clock& until) {
  auto& w = world();
  merge(w.host, until);
  std::list<Pending> due;
  for (auto one = w.pending.begin(); one != w.pending.end();) {
    auto next = std::next(one);
    if (at_clock(w.host, one->when.stream) >= one->when.time) due.splice(due.end(), w.pending, one);
    one = next;
  }
  for (auto& one : due) happen(one);
  w.lock.unlock();
  due.clear();  // what this frees takes the lock
  w.lock.lock();
}

Moment tick(int stream) {
  auto& w = world();
  auto& clock = w.clocks[stream];
  if (clock.size() < w.clocks.size()) clock.resize(w.clocks.size(), 0);
  merge(clock, w.host);
  return {stream, ++clock[stream]};
}

// An operation of the current stream uses these; what was to come to them by then comes.
Moment use(const std::vector<at::Tensor>& read, const std::vector<at::Tensor>& written, const std::string& what) {
  auto& w = world();
  std::unique_lock<std::mutex> hold(w.lock);
  int stream = current_stream[current_device];
  Moment now = tick(stream);
  const auto& clock = w.clocks[stream];
  std::string race;
  auto look = [&](const at::Tensor& tensor, bool writes) {
    auto* block = block_of(tensor);
    if (!block) return;
    auto& last = block->written;
    if (last.stream >= 0 && last.time > at_clock(clock, last.stream)) race = "what another stream writes";
    if (writes) {
      for (const auto& [other, time] : block->used)
        if (time > at_clock(clock, other)) race = "what another stream still uses";
      block->written = now;
    }
    block->used[stream] = now.time;
  };
  for (const auto& tensor : read) look(tensor, false);
  for (const auto& tensor : written) look(tensor, true);
  if (!race.empty()) note_fault(what + " uses " + race + ", and nobody waited");
  std::list<Pending> due;
  if (!w.pending.empty()) {
    for (auto one = w.pending.begin(); one != w.pending.end();) {
      auto next = std::next(one);
      auto touches = [&](const at::Tensor& t) { return one->block && block_of(t) == one->block; };
      if (std::any_of(read.begin(), read.end(), touches) || std::any_of(written.begin(), written.end(), touches))
        due.splice(due.end(), w.pending, one);
      one = next;
    }
    for (auto& one : due) happen(one);
  }
  hold.unlock();
  due.clear();
  TORCH_CHECK(race.empty(), "pretend: ", what, " uses ", race, ", and nobody waited");
  return now;
}

void host_waits_for_stream(int stream) {
  auto& w = world();
  std::unique_lock<std::mutex> hold(w.lock);
  tick(stream);
  Clock until = w.clocks[stream];
  host_waits(until);
}

// ---------------------------------------------------------------- copies

// What was told before of this memory of the host's comes first, where this stream knows of it.
void come_first(const at::Tensor& host) {
  auto& w = world();
  std::unique_lock<std::mutex> hold(w.lock);
  const auto& clock = w.clocks[current_stream[current_device]];
  std::list<Pending> due;
  for (auto one = w.pending.begin(); one != w.pending.end();) {
    auto next = std::next(one);
    const auto& own = one->to_host ? one->target : one->source;
    if (own.storage().data() == host.storage().data() && at_clock(clock, one->when.stream) >= one->when.time)
      due.splice(due.end(), w.pending, one);
    one = next;
  }
  for (auto& one : due) happen(one);
  hold.unlock();
}

at::Tensor copy_from(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  auto& w = world();
  const bool from_host = source.is_cpu(), to_host = target.is_cpu();
  const int64_t bytes = int64_t(source.numel() * source.itemsize());
  if (!from_host && !to_host) {
    use({source}, {target}, "copy_");
    on_host(target).copy_(on_host(source));
    return target;
  }
  tell(from_host ? kToDevice : kToHost, bytes, from_host ? "to device" : "to host");
  const bool late = w.delayed && non_blocking && source.numel();
  if (w.delayed && is_pinned_pointer((from_host ? source : target).storage().data()))
    come_first(from_host ? source : target);
  if (from_host) {
    Moment now = use({}, {target}, "copy_");
    if (late && is_pinned_pointer(source.storage().data()) && target.is_non_overlapping_and_dense()) {
      std::memset(on_host(target).data_ptr(), kPoison, target.numel() * target.itemsize());
      std::lock_guard<std::mutex> hold(w.lock);
      w.pending.push_back({target.detach(), source.detach(), false, now, block_of(target)});
    } else {
      on_host(target).copy_(source);
    }
    return target;
  }
  Moment now = use({source}, {}, "copy_");
  if (late) {
    auto snapshot = on_host(source).clone();
    TORCH_CHECK(target.is_non_overlapping_and_dense(), "pretend: a late copy to a view with holes");
    std::memset(target.data_ptr(), kPoison, target.numel() * target.itemsize());
    std::lock_guard<std::mutex> hold(w.lock);
    w.pending.push_back({target.detach(), snapshot, true, now, nullptr});
    return target;
  }
  target.copy_(on_host(source));
  if (!non_blocking) host_waits_for_stream(current_stream[current_device]);
  return target;
}

at::Tensor copy_from_and_resize(const at::Tensor& source, const at::Tensor& target) {
  target.resize_(source.sizes());
  return copy_from(source, target, false);
}

at::Scalar read_scalar(const at::Tensor& self) {
  tell(kRead, int64_t(self.itemsize()), "item");
  use({self}, {}, "item");
  host_waits_for_stream(current_stream[current_device]);
  return on_host(self).item();
}

// ---------------------------------------------------------------- operations

void check_dtype(at::ScalarType dtype) {
  TORCH_CHECK_TYPE(world().float64 || dtype != at::kDouble, "pretend: this kind has no float64");
  TORCH_CHECK_TYPE(world().bfloat16 || dtype != at::kBFloat16, "pretend: this kind has no bfloat16");
}

void check_options(std::optional<c10::Layout> layout, std::optional<bool> pin) {
  TORCH_CHECK(c10::layout_or_default(layout) == c10::kStrided, "pretend: strided tensors only");
  TORCH_CHECK(!c10::pinned_memory_or_default(pin), "pretend: pinned memory is the host's");
}

at::Tensor empty(
    c10::IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout> layout,
    std::optional<c10::Device> device, std::optional<bool> pin, std::optional<c10::MemoryFormat> format) {
  check_options(layout, pin);
  check_dtype(c10::dtype_or_default(dtype));
  const c10::DeviceGuard guard(c10::device_or_default(device));
  return at::detail::empty_generic(
      size, &device_memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(
    c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> dtype,
    std::optional<c10::Layout> layout, std::optional<c10::Device> device, std::optional<bool> pin) {
  check_options(layout, pin);
  check_dtype(c10::dtype_or_default(dtype));
  const c10::DeviceGuard guard(c10::device_or_default(device));
  return at::detail::empty_strided_generic(
      size, stride, &device_memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype));
}

at::Tensor as_strided(
    const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<c10::SymInt> offset) {
  std::optional<int64_t> start;
  if (offset) start = offset->expect_int();
  return at::native::as_strided_tensorimpl(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), start);
}

at::Tensor reshape_alias(const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}

at::Tensor view(const at::Tensor& self, c10::SymIntArrayRef size) {
  return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size));
}

const at::Tensor& resize(
    const at::Tensor& self, c10::SymIntArrayRef size, std::optional<at::MemoryFormat> format) {
  auto wanted = C10_AS_INTARRAYREF_SLOW(size);
  int64_t count = 1;
  for (auto side : wanted) count *= side;
  auto* storage = self.storage().unsafeGetStorageImpl();
  auto bytes = size_t((self.storage_offset() + count) * int64_t(self.itemsize()));
  if (count && storage->nbytes() < bytes) {
    const c10::DeviceGuard guard(self.device());
    auto old = on_host(self).clone();
    storage->set_data_ptr_noswap(device_memory.allocate(bytes));
    storage->set_nbytes(bytes);
    auto kept = on_host(self);
    kept.copy_(old);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(wanted);
  return self;
}

at::Tensor& set_storage(
    at::Tensor& self, at::Storage storage, int64_t offset, c10::IntArrayRef size, c10::IntArrayRef stride) {
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  self.unsafeGetTensorImpl()->set_storage_offset(offset);
  self.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
  return self;
}

at::Tensor& set_whole(at::Tensor& self, at::Storage storage) {
  const auto count = int64_t(storage.nbytes()) / int64_t(self.itemsize());
  return set_storage(self, std::move(storage), 0, {count}, {1});
}

at::Tensor& set_source(at::Tensor& self, const at::Tensor& source) {
  return set_storage(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

void record_stream(at::Tensor& self, c10::Stream stream) {
  device_memory.recordStream(self.storage().data_ptr(), stream);
}

bool is_pinned(const at::Tensor& self, std::optional<at::Device>) {
  return is_pinned_pointer(self.storage().data());
}

at::Tensor to_device(const at::Tensor& made, c10::Device device) {
  if (!made.defined()) return made;
  const bool dense = made.is_non_overlapping_and_dense();
  auto options = made.options().device(device).pinned_memory(false);
  auto result = dense ? at::empty_strided(made.sizes(), made.strides(), options) : at::empty(made.sizes(), options);
  use({}, {result}, "a result");
  if (made.numel()) on_host(result).copy_(made);
  return result;
}

const std::set<std::string> kReads = {
    "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2", "aten::bincount",
    "aten::unique_dim", "aten::unique_consecutive", "aten::repeat_interleave"};

// One call of the boxed fallback: what goes in is seen as the host sees it, what comes out goes back.
struct Call {
  const c10::FunctionSchema& schema;
  std::vector<at::Tensor> read, written;
  std::vector<std::pair<at::Tensor, at::Tensor>> outs;  // device tensor, fresh host tensor
  std::optional<c10::Device> device;
  std::optional<at::Tensor> foreign;

  at::Tensor in(const at::Tensor& tensor, const c10::Argument& argument) {
    if (!tensor.defined()) return tensor;
    if (tensor.device().type() != kKind) {
      if (tensor.dim()) foreign = tensor;
      return tensor;
    }
    device = tensor.device();
    const bool writes = argument.alias_info() && argument.alias_info()->isWrite();
    (writes ? written : read).push_back(tensor);
    if (writes && argument.is_out() && !tensor.numel()) {
      auto fresh = at::empty({0}, tensor.options().device(DeviceType::CPU));
      outs.emplace_back(tensor, fresh);
      return fresh;
    }
    return on_host(tensor);
  }

  c10::IValue in(const c10::IValue& value, const c10::Argument& argument) {
    if (value.isTensor()) return in(value.toTensor(), argument);
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& one : value.toTensorVector()) list.push_back(in(one, argument));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const auto& one : value.toOptionalTensorVector())
        list.push_back(one ? std::optional<at::Tensor>(in(*one, argument)) : std::nullopt);
      return list;
    }
    if (value.isDevice() && value.toDevice().type() == kKind) {
      device = value.toDevice();
      return c10::Device(DeviceType::CPU);
    }
    return value;
  }

  c10::IValue out(const c10::IValue& made, const c10::Argument& told, const std::vector<c10::IValue>& given) {
    if (made.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& one : made.toTensorVector()) list.push_back(to_device(one, *device));
      return list;
    }
    if (!made.isTensor()) return made;
    if (told.alias_info()) {
      for (size_t i = 0; i < given.size(); i++) {
        const auto* own = schema.arguments()[i].alias_info();
        if (!own || own->beforeSets() != told.alias_info()->beforeSets() || !given[i].isTensor()) continue;
        if (told.alias_info()->isWrite()) return given[i];
        const auto& base = given[i].toTensor();
        const auto& seen = made.toTensor();
        auto* block = block_of(base);
        int64_t start = 0;
        if (block && seen.numel())
          start = (static_cast<char*>(seen.data_ptr()) - block->real) / int64_t(seen.itemsize());
        return at::native::as_strided_tensorimpl(base, seen.sizes(), seen.strides(), start);
      }
    }
    return to_device(made.toTensor(), *device);
  }
};

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto count = schema.arguments().size();
  std::vector<c10::IValue> given(stack->end() - int64_t(count), stack->end());
  Call call{schema, {}, {}, {}, {}, {}};
  std::vector<c10::IValue> seen;
  for (size_t i = 0; i < count; i++) seen.push_back(call.in(given[i], schema.arguments()[i]));
  TORCH_CHECK(call.device, "pretend: ", schema.name(), " has nothing on the device");
  TORCH_CHECK(
      !call.foreign, "pretend: ", schema.name(), " expects all tensors on one device, found one of shape ",
      call.foreign ? call.foreign->sizes() : c10::IntArrayRef(), " on the host beside ", *call.device);
  for (const auto& value : given) {
    if (value.isGenerator() && value.toGenerator().defined())
      TORCH_CHECK(false, "pretend: ", schema.name(), " expects a generator of the device, found one of the CPU");
  }
  const c10::DeviceGuard guard(*call.device);
  use(call.read, call.written, schema.name());
  if (kReads.count(schema.name())) {
    tell(kRead, 0, schema.name());
    host_waits_for_stream(current_stream[current_device]);
  }
  stack->resize(stack->size() - count);
  for (auto& value : seen) stack->push_back(value);
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  for (auto& [target, fresh] : call.outs) {
    target.resize_(fresh.sizes());
    if (fresh.numel()) on_host(target).copy_(fresh);
  }
  const auto results = schema.returns().size();
  std::vector<c10::IValue> made(stack->end() - int64_t(results), stack->end());
  stack->resize(stack->size() - results);
  for (size_t i = 0; i < results; i++) stack->push_back(call.out(made[i], schema.returns()[i], given));
}

// Where a gradient is wanted these are made of others, as on the CPU; else they are run whole.
void with_gradient(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto count = op.schema().arguments().size();
  const bool wanted = at::GradMode::is_enabled() &&
      std::any_of(stack->end() - int64_t(count), stack->end(), [](const c10::IValue& value) {
        return value.isTensor() && value.toTensor().defined() && value.toTensor().requires_grad();
      });
  if (wanted) return op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::AutogradCPU), stack);
  const at::AutoDispatchBelowADInplaceOrView below;
  fallback(op, stack);
}

// An accelerator counts whole numbers, which the CPU's kernel refuses.
at::Tensor histc(const at::Tensor& self, int64_t bins, const at::Scalar& low, const at::Scalar& high) {
  use({self}, {}, "histc");
  auto made = at::histc(on_host(self).to(at::kFloat), bins, low, high);
  return to_device(made.to(self.scalar_type()), self.device());
}

// ---------------------------------------------------------------- devices and streams

struct Event {
  Clock clock;
};

struct Guard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return kKind; }
  static c10::Device device(int index) { return {kKind, c10::DeviceIndex(index)}; }
  c10::Device exchangeDevice(c10::Device other) const override {
    auto before = device(current_device);
    setDevice(other);
    return before;
  }
  c10::Device getDevice() const override { return device(current_device); }
  void setDevice(c10::Device other) const override { uncheckedSetDevice(other); }
  void uncheckedSetDevice(c10::Device other) const noexcept override {
    if (other.index() >= 0) current_device = other.index();
  }
  static c10::Stream stream(int index, int id) { return c10::Stream(c10::Stream::UNSAFE, device(index), id); }
  static int of(c10::Device d) { return d.index() < 0 ? current_device : d.index(); }
  c10::Stream getStream(c10::Device d) const override { return stream(of(d), current_stream[of(d)]); }
  c10::Stream getDefaultStream(c10::Device d) const override { return stream(of(d), 0); }
  c10::Stream getNewStream(c10::Device d, int) const override {
    auto& w = world();
    std::lock_guard<std::mutex> hold(w.lock);
    w.clocks.emplace_back(w.clocks.size() + 1, 0);
    return stream(of(d), int(w.clocks.size()) - 1);
  }
  c10::Stream getStreamFromGlobalPool(c10::Device d, bool) const override { return getNewStream(d, 0); }
  c10::Stream exchangeStream(c10::Stream other) const override {
    auto before = getStream(other.device());
    current_stream[of(other.device())] = int(other.id());
    return before;
  }
  c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    delete static_cast<Event*>(event);
  }
  void record(void** event, const c10::Stream& on, const c10::DeviceIndex, const c10::EventFlag) const override {
    auto& w = world();
    std::lock_guard<std::mutex> hold(w.lock);
    if (!*event) *event = new Event;
    tick(int(on.id()));
    static_cast<Event*>(*event)->clock = w.clocks[on.id()];
  }
  void block(void* event, const c10::Stream& on) const override {
    if (!event) return;
    std::lock_guard<std::mutex> hold(world().lock);
    merge(world().clocks[on.id()], static_cast<Event*>(event)->clock);
  }
  bool queryEvent(void* event) const override {
    synchronizeEvent(event);
    return true;
  }
  bool queryStream(const c10::Stream& on) const override {
    synchronizeStream(on);
    return true;
  }
  void synchronizeStream(const c10::Stream& on) const override { host_waits_for_stream(int(on.id())); }
  void synchronizeEvent(void* event) const override {
    if (!event) return;
    std::unique_lock<std::mutex> hold(world().lock);
    Clock until = static_cast<Event*>(event)->clock;
    host_waits(until);
  }
  void synchronizeDevice(const c10::DeviceIndex) const override {
    size_t count;
    {
      std::lock_guard<std::mutex> hold(world().lock);
      count = world().clocks.size();
    }
    for (size_t i = 0; i < count; i++) host_waits_for_stream(int(i));
  }
  void recordDataPtrOnStream(const c10::DataPtr& data, const c10::Stream& on) const override {
    device_memory.recordStream(data, on);
  }
  double elapsedTime(void*, void*, const c10::DeviceIndex) const override { return 0; }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  void init() const override {}
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  c10::DeviceIndex deviceCount() const override { return kDevices; }
  void setCurrentDevice(c10::DeviceIndex index) const override { current_device = index; }
  c10::DeviceIndex getCurrentDevice() const override { return c10::DeviceIndex(current_device); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex index) const override {
    auto before = c10::DeviceIndex(current_device);
    if (index >= 0) current_device = index;
    return before;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex index) const override { return exchangeDevice(index); }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_memory; }
  bool isPinnedPtr(const void* data) const override { return is_pinned_pointer(data); }
};

const bool hooked = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return true;
}();

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", as_strided);
  m.impl("_reshape_alias", reshape_alias);
  m.impl("view", view);
  m.impl("resize_", resize);
  m.impl("set_.source_Tensor", set_source);
  m.impl("set_.source_Storage", set_whole);
  m.impl("set_.source_Storage_storage_offset", set_storage);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", read_scalar);
  m.impl("record_stream", record_stream);
  m.impl("is_pinned", is_pinned);
  m.impl("histc", histc);
  // Where torch would take another way than on the CPU, and round otherwise.
  for (const char* name :
       {"scaled_dot_product_attention", "native_layer_norm", "linear", "matmul", "_fused_rms_norm"}) {
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&fallback>());
  }
}

TORCH_LIBRARY_IMPL(aten, AutogradPrivateUse1, m) {
  for (const char* name : {"scaled_dot_product_attention", "linear", "matmul"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&with_gradient>());
}

extern "C" {

void pretend_counts(int64_t* into) {
  std::lock_guard<std::mutex> hold(world().lock);
  std::copy(world().counts, world().counts + 6, into);
}
void pretend_reset() {
  auto& w = world();
  std::lock_guard<std::mutex> hold(w.lock);
  std::fill(w.counts, w.counts + 6, 0);
  w.fault.clear();
  for (int i = 0; i < kDevices; i++) w.most[i] = w.now[i];
  w.pinned_most = w.pinned;
}
void pretend_memory(int64_t* into) {
  std::lock_guard<std::mutex> hold(world().lock);
  const auto& w = world();
  const int64_t found[4] = {w.now[0], w.most[0], w.pinned, w.pinned_most};
  std::copy(found, found + 4, into);
}
const char* pretend_fault() { return world().fault.c_str(); }
void pretend_tell(Told told) { world().told = told; }
void pretend_can(int delayed, int float64, int bfloat16, int pinned, int64_t limit) {
  auto& w = world();
  w.delayed = delayed, w.float64 = float64, w.bfloat16 = bfloat16, w.pinnable = pinned, w.limit = limit;
}

}  // extern "C"
