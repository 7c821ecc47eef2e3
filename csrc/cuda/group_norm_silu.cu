// GroupNorm + scale-shift + SiLU, and its gradient with respect to the input: one launch each.
#include <cmath>
#include <initializer_list>
#include <numeric>

#include "cuda/group_norm_lines.cuh"

namespace vml_fast::cuda {

namespace {

constexpr int kMostNormThreads = 512;

__device__ __forceinline__ float sigmoid(float z) {
  return __fdividef(1.0f, 1.0f + __expf(-z));
}
__device__ __forceinline__ double sigmoid(double z) {
  return 1.0 / (1.0 + exp(-z));
}

// A number of a group, counted from the first of the part: moments are taken about it, so that no
// digits are lost where the mean is large against the spread.
template <typename Real>
__device__ __forceinline__ Real reference(const Job& job, const NormPart& part, uint32_t g) {
  const int64_t channel = part.first + g * job.tiling.per_group;
  return load_number<Real>(job.x.data, job.x.element, part.b * job.x.batch + channel * job.x.outer);
}

// Sums of each group's numbers about its reference, and of their squared deviations from the
// block's mean, over the block (Welford 1962): room.first and room.second.
template <typename Access>
__device__ __forceinline__ void find_moments(const Access& access, const Job& job,
                                             const NormPart& part, const Room<Access>& room) {
  using Real = typename Access::Real;
  constexpr int kValues = Access::kValues;
  Real zero[kValues], mean[kValues] = {}, spread[kValues] = {};
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    zero[i] = reference<Real>(job, part, group_of(access, job.tiling, i));
  }
#pragma unroll 4
  for (uint32_t k = 0; k < access.steps; ++k) {
    Real x[kValues];
    access.load(job.x, k, x);
    const Real share = Real(1) / static_cast<Real>(k + 1);
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const Real value = x[i] - zero[i], difference = value - mean[i];
      mean[i] += difference * share;
      spread[i] += difference * (value - mean[i]);
    }
  }
  const Real steps = static_cast<Real>(access.steps);
  Real sum[kValues];
#pragma unroll
  for (int i = 0; i < kValues; ++i) sum[i] = steps * mean[i];
  sum_over_groups(access, job.tiling, part, sum, room.scratch, room.first);
  const uint32_t units = part.end - part.begin;
  const Real numbers = static_cast<Real>(units) * Access::per_unit(job.tiling);
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    const Real block_mean =
        units > 0 ? room.first[group_of(access, job.tiling, i)] / numbers : Real(0);
    spread[i] += steps * (mean[i] - block_mean) * (mean[i] - block_mean);
  }
  sum_over_groups(access, job.tiling, part, spread, room.scratch, room.second);
}

// Mean, about the reference, and variance of a whole group from the moments of the blocks (Chan et
// al. 1983).
template <typename Access>
__device__ __forceinline__ Pair<typename Access::Real> merge_moments(const Job& job,
                                                                     const Room<Access>& room,
                                                                     uint32_t g) {
  using Real = typename Access::Real;
  const Real per_unit = static_cast<Real>(Access::per_unit(job.tiling));
  Real sum = 0, spread = 0;
  for (unsigned r = 0; r < cluster_size(); ++r) sum += of_block(room.first, r)[g];
  const Real mean = sum / (static_cast<Real>(job.tiling.units) * per_unit);
  for (unsigned r = 0; r < cluster_size(); ++r) {
    const Real numbers = static_cast<Real>(NormPart::units_of(job.tiling, r)) * per_unit;
    if (numbers == 0) continue;
    const Real difference = of_block(room.first, r)[g] / numbers - mean;
    spread += of_block(room.second, r)[g] + numbers * difference * difference;
  }
  return {mean, spread / (static_cast<Real>(job.tiling.units) * per_unit)};
}

template <typename Access>
__global__ void __launch_bounds__(kMostNormThreads, 2)
    forward(const __grid_constant__ Job job, double eps) {
  using Real = typename Access::Real;
  VML_DYNAMIC_SHARED(float4, memory);
  const NormTiling& tiling = job.tiling;
  const NormPart part(tiling);
  const Access access(tiling, part);
  const Room<Access> room(memory, tiling);
  find_moments(access, job, part, room);
  cluster_arrive();
  cluster_wait();
  for (uint32_t g = threadIdx.x; g < part.width / tiling.per_group; g += blockDim.x) {
    const Pair<Real> moments = merge_moments(job, room, g);
    const Real mean = reference<Real>(job, part, g) + moments.first;
    const Real rstd = Real(1) / sqrt(moments.second + static_cast<Real>(eps));
    room.merged[g] = {mean, rstd};
    if (cluster_rank() == 0) {
      const Statistics& to = job.statistics;
      const int64_t group = part.first / tiling.per_group + g;
      static_cast<Real*>(to.mean)[part.b * to.mean_batch + group * to.mean_group] = mean;
      static_cast<Real*>(to.rstd)[part.b * to.rstd_batch + group * to.rstd_group] = rstd;
    }
  }
  cluster_arrive();  // from here on no block reads another one's memory
  __syncthreads();
  Lines<Access>::make(job, part, room);
  Lines<Access> lines(access, room);
#pragma unroll 2
  for (uint32_t k = access.steps; k-- > 0;) {
    Real value[Access::kValues];
    access.load(job.x, k, value);
    lines.step(k, access, job, part, room);
#pragma unroll
    for (int i = 0; i < Access::kValues; ++i) {
      const Real z = lines[i].normalize(value[i]) * lines[i].gain + lines[i].offset;
      value[i] = job.norm.activation ? z * sigmoid(z) : z;
    }
    access.store(job.out, k, value);
  }
  cluster_wait();
}

// The gradient with respect to xhat = (x - mean) rstd, and xhat in place of x.
template <typename Access>
__device__ __forceinline__ void load_gradient(const Access& access, const Job& job, uint32_t k,
                                              const Lines<Access>& lines,
                                              typename Access::Real (&xhat)[Access::kValues],
                                              typename Access::Real (&dxhat)[Access::kValues]) {
  using Real = typename Access::Real;
  access.load(job.x, k, xhat);
  access.load(job.gradient, k, dxhat);
#pragma unroll
  for (int i = 0; i < Access::kValues; ++i) {
    const Line<Real>& line = lines[i];
    xhat[i] = line.normalize(xhat[i]);
    dxhat[i] *= line.gain;
    if (job.norm.activation) {
      const Real z = xhat[i] * line.gain + line.offset;
      const Real s = sigmoid(z);
      dxhat[i] *= s * (Real(1) + z * (Real(1) - s));
    }
  }
}

// Means over a whole group of dxhat and of dxhat xhat.
template <typename Access>
__device__ __forceinline__ Pair<typename Access::Real> merge_means(const Job& job,
                                                                   const Room<Access>& room,
                                                                   uint32_t g) {
  using Real = typename Access::Real;
  Pair<Real> sum{0, 0};
  for (unsigned r = 0; r < cluster_size(); ++r) {
    sum.first += of_block(room.first, r)[g];
    sum.second += of_block(room.second, r)[g];
  }
  const Real numbers = static_cast<Real>(job.tiling.units) * Access::per_unit(job.tiling);
  return {sum.first / numbers, sum.second / numbers};
}

template <typename Access>
__global__ void __launch_bounds__(kMostNormThreads, 2) backward(const __grid_constant__ Job job) {
  using Real = typename Access::Real;
  constexpr int kValues = Access::kValues;
  VML_DYNAMIC_SHARED(float4, memory);
  const NormTiling& tiling = job.tiling;
  const NormPart part(tiling);
  const Access access(tiling, part);
  const Room<Access> room(memory, tiling);
  const uint32_t groups = part.width / tiling.per_group;
  for (uint32_t g = threadIdx.x; g < groups; g += blockDim.x) {
    const Statistics& from = job.statistics;
    const int64_t group = part.first / tiling.per_group + g;
    room.merged[g] = {
        static_cast<const Real*>(from.mean)[part.b * from.mean_batch + group * from.mean_group],
        static_cast<const Real*>(from.rstd)[part.b * from.rstd_batch + group * from.rstd_group]};
  }
  __syncthreads();
  Lines<Access>::make(job, part, room);
  Lines<Access> lines(access, room);
  Real sum[kValues] = {}, product[kValues] = {};
#pragma unroll 2
  for (uint32_t k = 0; k < access.steps; ++k) {
    Real xhat[kValues], dxhat[kValues];
    lines.step(k, access, job, part, room);
    load_gradient(access, job, k, lines, xhat, dxhat);
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      sum[i] += dxhat[i];
      product[i] += dxhat[i] * xhat[i];
    }
  }
  sum_over_groups(access, tiling, part, sum, room.scratch, room.first);
  sum_over_groups(access, tiling, part, product, room.scratch, room.second);
  cluster_arrive();
  cluster_wait();
  Pair<Real> mean[Access::kManyGroups ? kValues : 1];
#pragma unroll
  for (int i = 0; i < (Access::kManyGroups ? kValues : 1); ++i) {
    mean[i] = merge_means(job, room, group_of(access, tiling, i));
  }
  cluster_arrive();  // from here on no block reads another one's memory
#pragma unroll 2
  for (uint32_t k = access.steps; k-- > 0;) {
    Real xhat[kValues], dx[kValues];
    lines.step(k, access, job, part, room);
    load_gradient(access, job, k, lines, xhat, dx);
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const Pair<Real>& m = mean[Access::kManyGroups ? i : 0];
      dx[i] = lines[i].rstd * (dx[i] - m.first - xhat[i] * m.second);
    }
    access.store(job.out, k, dx);
  }
  cluster_wait();
}

bool is_dense(const View& view, const Shape& shape, bool interleaved) {
  const int64_t pixels = shape.rows * shape.columns;
  const int64_t channel = interleaved ? 1 : pixels, pixel = interleaved ? shape.channels : 1;
  return (shape.channels == 1 || view.outer == channel) &&
         (shape.columns == 1 || view.column == pixel) &&
         (shape.rows == 1 || view.row == shape.columns * pixel) &&
         (shape.batch == 1 || view.batch == shape.channels * pixels) &&
         reinterpret_cast<uintptr_t>(view.data) % (kVector * size_of(view.element)) == 0;
}

int64_t quotient_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Cuts tiles of `width` channels, `units` units and `vectors` loads among the blocks of clusters,
// and calls start(kernel's access, tiling, launch).
template <typename Access, typename F>
void start_with(const Job& job, int64_t width, int64_t units, int64_t vectors, Stream stream,
                const F& start) {
  constexpr int64_t kVectorsPerBlock = 8 * kThreads;
  const Shape& shape = job.norm.shape;
  if (std::max(units, shape.rows * shape.columns) > INT32_MAX) {  // counted in 32 bits
    throw std::runtime_error("CUDA: a group of x is too large");
  }
  const int64_t tiles = quotient_up(shape.channels, width);
  unsigned cluster = 1;
  const unsigned most = largest_cluster(stream);
  while (cluster < most && vectors > cluster * kVectorsPerBlock) cluster *= 2;
  const int64_t blocks = shape.batch * tiles * cluster;
  check_blocks(blocks);
  const bool few = blocks < 2 * multiprocessors(stream) && vectors > 4 * cluster * kVectorsPerBlock;
  Job full = job;
  full.tiling = {.channels = static_cast<uint32_t>(shape.channels),
                 .pixels = static_cast<uint32_t>(shape.rows * shape.columns),
                 .columns = static_cast<uint32_t>(shape.columns),
                 .per_group = static_cast<uint32_t>(shape.channels / job.norm.groups),
                 .width = static_cast<uint32_t>(width),
                 .tiles = static_cast<uint32_t>(tiles),
                 .units = static_cast<uint32_t>(units),
                 .per_block = static_cast<uint32_t>(quotient_up(units, cluster)),
                 .channels_fastest = job.x.outer > 0 && job.x.outer < job.x.column};
  const unsigned threads = few ? kMostNormThreads : kThreads;
  const Launch launch{.grid = dim3(static_cast<unsigned>(blocks)),
                      .threads = threads,
                      .shared = Room<Access>::size(full.tiling, threads),
                      .cluster = cluster};
  start(std::type_identity<Access>{}, full, launch);
}

// Channels of an interleaved tile: whole groups in whole vectors, two sectors of memory wide, or
// one if that leaves processors idle. 0 where groups do not fit.
int64_t interleaved_width(const Job& job, Stream stream) {
  constexpr int64_t kSector = 32;  // bytes
  const Shape& shape = job.norm.shape;
  const int64_t smallest = std::lcm(shape.channels / job.norm.groups, int64_t{kVector});
  if (shape.channels % kVector != 0 || smallest > kVector * kThreads) return 0;
  const int64_t sector = kSector / size_of(job.x.element);
  const int64_t wide = std::max(smallest, 2 * sector / smallest * smallest);
  const int64_t narrow = std::max(smallest, sector / smallest * smallest);
  const int64_t blocks = shape.batch * quotient_up(shape.channels, wide) * largest_cluster(stream);
  return blocks < multiprocessors(stream) ? narrow : wide;
}

// Calls start with the fastest access that all images allow.
template <typename F>
void start_norm(const Job& job, std::initializer_list<const View*> images, Stream stream,
                const F& start) {
  constexpr int64_t kWidestGroup = 1024;
  const Shape& shape = job.norm.shape;
  const int64_t pixels = shape.rows * shape.columns, per_group = shape.channels / job.norm.groups;
  const auto all_dense = [&](bool interleaved) {
    return std::all_of(images.begin(), images.end(), [&](const View* view) {
      return view->element == job.x.element && is_dense(*view, shape, interleaved);
    });
  };
  const int64_t width = interleaved_width(job, stream);
  const auto run = [&](auto type) {
    using T = decltype(type);
    if (pixels % kVector == 0 && per_group <= kWidestGroup && all_dense(false)) {
      const int64_t vectors = per_group * pixels / kVector;
      start_with<Planar<T>>(job, per_group, vectors, vectors, stream, start);
      return true;
    }
    if (width > 0 && all_dense(true)) {
      start_with<Interleaved<T>>(job, width, pixels, pixels * width / kVector, stream, start);
      return true;
    }
    return false;
  };
  bool done = false;
  with_vector_type(job.x.element, [&](auto type) { done = run(type); });
  if (done) return;
  const int64_t elements = per_group * pixels;
  if (job.norm.is_double) {
    start_with<Strided<double>>(job, per_group, elements, elements, stream, start);
  } else {
    start_with<Strided<float>>(job, per_group, elements, elements, stream, start);
  }
}

}  // namespace

void launch_group_norm_silu_forward(const GroupNorm& norm, const View& x, const View& y,
                                    const Statistics& statistics, double eps, Stream stream) {
  const Job job{norm, {}, statistics, x, x, y};
  start_norm(job, {&x, &y}, stream, [&](auto access, const Job& full, const Launch& shape) {
    launch(stream, shape, &forward<typename decltype(access)::type>, full, eps);
  });
}

void launch_group_norm_silu_backward(const GroupNorm& norm, const View& gradient, const View& x,
                                     const View& dx, const Statistics& statistics, Stream stream) {
  const Job job{norm, {}, statistics, x, gradient, dx};
  start_norm(job, {&gradient, &x, &dx}, stream,
             [&](auto access, const Job& full, const Launch& shape) {
               launch(stream, shape, &backward<typename decltype(access)::type>, full);
             });
}

}  // namespace vml_fast::cuda
