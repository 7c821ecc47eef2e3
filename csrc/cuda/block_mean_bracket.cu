// Block-mean super-resolution: the mean of every factor x factor block is observed.
//
// Factors 2, 4, 8 and 16 in dense images: a thread holds four columns of two or four rows, whole
// small blocks or a part of a large one; the threads that share a block are in one warp. Anything
// else: a team of threads per block, which reads it twice, the second time from the cache.
#include "cuda/bracket.cuh"

namespace vml_fast::cuda {

namespace {

constexpr int kWarps = kThreads / kWarp;

struct Operands {
  BracketViews images;
  View y;
  Table coefficients;
};

// What is the same in a whole block.
struct Block {
  float denoised_sum = 0.0f, prior_sum = 0.0f;  // of D and of D - x

  __device__ __forceinline__ void add(float denoised, float prior) {
    denoised_sum += denoised;
    prior_sum += prior;
  }

  // Adds up the lanes that differ in the bits of `distance`.
  __device__ __forceinline__ void join(uint32_t distance) {
    denoised_sum += __shfl_xor_sync(kAllLanes, denoised_sum, static_cast<int>(distance));
    prior_sum += __shfl_xor_sync(kAllLanes, prior_sum, static_cast<int>(distance));
  }

  // The part of v that all pixels share.
  __device__ __forceinline__ float part(const Coefficients& c, float y, float factor) const {
    const float share = 1.0f / (factor * factor);
    return c.alpha / factor * (y - share * denoised_sum) +
           (c.beta - c.beta_null) * (share * prior_sum);
  }
};

// How warps cut an image: 32 / lanes threads side by side, each with kVector columns; a block has
// `lanes` threads side by side and as many below each other.
struct Tiling {
  int64_t batch;
  uint32_t factor, lanes, block_rows, strips, columns, tiles;
};

// What a thread holds: kRows x kVector pixels with their kInner channels.
template <typename T, int kRows, int kInner>
struct Tile {
  static constexpr int kBlocks = kRows == 2 ? 2 : 1;  // side by side

  float prior[kRows][kInner][kVector];
  Block block[kInner][kBlocks];

  __device__ __forceinline__ void load_row(int r, const BracketViews& images,
                                           const Place<uint32_t>& place, bool inside,
                                           const Coefficients& c) {
    float raw[kInner][kVector] = {}, x[kInner][kVector] = {};
    if (inside) {
      load_places<T>(images.raw, place.offset_in(images.raw), raw);
      load_places<float>(images.x, place.offset_in(images.x), x);
    }
#pragma unroll
    for (int j = 0; j < kInner; ++j) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const float denoised = c.denoised(raw[j][i], x[j][i]);
        prior[r][j][i] = denoised - x[j][i];
        block[j][i * kBlocks / kVector].add(denoised, prior[r][j][i]);
      }
    }
  }

  __device__ __forceinline__ void join(uint32_t lanes) {
    for (uint32_t d = 1; d < lanes; d *= 2) {
#pragma unroll
      for (int j = 0; j < kInner; ++j) {
        block[j][0].join(d);
        block[j][0].join(d * kWarp / lanes);
      }
    }
  }

  __device__ __forceinline__ void store_row(int r, const BracketViews& images,
                                            const Place<uint32_t>& place,
                                            const float (&part)[kInner][kBlocks],
                                            const Coefficients& c) const {
    float v[kInner][kVector], cotangent[kInner][kVector];
#pragma unroll
    for (int j = 0; j < kInner; ++j) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        v[j][i] = c.beta_null * prior[r][j][i] + part[j][i * kBlocks / kVector];
        cotangent[j][i] = c.c_out * v[j][i];
      }
    }
    store_places<float>(images.v, place.offset_in(images.v), v);
    store_places<T>(images.cotangent, place.offset_in(images.cotangent), cotangent);
  }
};

template <typename T, int kRows, int kInner>
__device__ __forceinline__ void do_tile(const Tiling& tiling, const Operands& operands,
                                        const Coefficients& c, int64_t b, uint32_t index) {
  const uint32_t lane = threadIdx.x % kWarp, across = kWarp / tiling.lanes;
  const uint32_t strip = index % tiling.strips, block_row = index / tiling.strips;
  const uint32_t outer = block_row / tiling.block_rows, down = block_row % tiling.block_rows;
  const uint32_t column = (strip * across + lane % across) * kVector;
  const uint32_t row = down * tiling.factor + lane / across * kRows;
  const bool inside = column < tiling.columns;  // all lanes of a warp join its sums
  Tile<T, kRows, kInner> tile;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    tile.load_row(r, operands.images, {b, outer, row + r, column}, inside, c);
  }
  tile.join(tiling.lanes);
  if (!inside) return;
  constexpr int kBlocks = Tile<T, kRows, kInner>::kBlocks;
  float part[kInner][kBlocks];
#pragma unroll
  for (int j = 0; j < kInner; ++j) {
#pragma unroll
    for (int k = 0; k < kBlocks; ++k) {
      const Place<uint32_t> block{b, outer, down, column / tiling.factor + k};
      const float y = load_at(operands.y, block.offset_in(operands.y) + j * operands.y.inner);
      part[j][k] = tile.block[j][k].part(c, y, static_cast<float>(tiling.factor));
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    tile.store_row(r, operands.images, {b, outer, row + r, column}, part, c);
  }
}

template <typename T, int kRows, int kInner>
__global__ void __launch_bounds__(kThreads)
    tiles_of_blocks(const __grid_constant__ Tiling tiling,
                    const __grid_constant__ Operands operands) {
  for_each_sample(tiling.batch, [&](int64_t b) {
    const Coefficients c = coefficients_of(operands.coefficients, b);
    for (uint32_t index = blockIdx.x * kWarps + threadIdx.x / kWarp; index < tiling.tiles;
         index += gridDim.x * kWarps) {
      do_tile<T, kRows, kInner>(tiling, operands, c, b, index);
    }
  });
}

struct Teams {
  int64_t batch, block_rows, block_columns, blocks;
  uint32_t factor, size;  // threads of a team: a power of two, at most a warp
};

// Calls f(place, D, D - x) for the pixels of this thread in a block whose first pixel is `corner`.
template <typename F>
__device__ __forceinline__ void for_each_pixel(const Teams& teams, const BracketViews& images,
                                               const Coefficients& c, const Place<int64_t>& corner,
                                               const F& f) {
  const uint32_t pixels = teams.factor * teams.factor;
  for (uint32_t i = threadIdx.x % teams.size; i < pixels; i += teams.size) {
    const Place<int64_t> place{corner.b, corner.outer, corner.row + i / teams.factor,
                               corner.column + i % teams.factor};
    const float x = load_at(images.x, place.offset_in(images.x));
    const float raw = load_at(images.raw, place.offset_in(images.raw));
    const float denoised = c.denoised(raw, x);
    f(place, denoised, denoised - x);
  }
}

// The lanes of a team share a block: any strides, types and factors.
__device__ __forceinline__ void do_block(const Teams& teams, const Operands& operands,
                                         const Coefficients& c, int64_t b, int64_t index) {
  const int64_t row = index / teams.block_columns;
  const Place<int64_t> measured{b, row / teams.block_rows, row % teams.block_rows,
                                index % teams.block_columns};
  const Place<int64_t> corner{b, measured.outer, measured.row * teams.factor,
                              measured.column * teams.factor};
  const bool inside = index < teams.blocks;  // all lanes of a warp join its sums
  Block block;
  if (inside) {
    for_each_pixel(
        teams, operands.images, c, corner,
        [&](const Place<int64_t>&, float denoised, float prior) { block.add(denoised, prior); });
  }
  for (uint32_t d = 1; d < teams.size; d *= 2) block.join(d);
  if (!inside) return;
  const float y = load_at(operands.y, measured.offset_in(operands.y));
  const float part = block.part(c, y, static_cast<float>(teams.factor));
  const View &v = operands.images.v, &cotangent = operands.images.cotangent;
  for_each_pixel(teams, operands.images, c, corner,
                 [&](const Place<int64_t>& place, float, float prior) {
                   const float value = c.beta_null * prior + part;
                   store_at(v, place.offset_in(v), value);
                   store_at(cotangent, place.offset_in(cotangent), c.c_out * value);
                 });
}

__global__ void __launch_bounds__(kThreads, 2)
    one_block_per_team(const __grid_constant__ Teams teams,
                       const __grid_constant__ Operands operands) {
  const int64_t per_grid = int64_t{gridDim.x} * (kThreads / teams.size);
  const int64_t rounds = (teams.blocks + per_grid - 1) / per_grid;  // the same for all lanes
  for_each_sample(teams.batch, [&](int64_t b) {
    const Coefficients c = coefficients_of(operands.coefficients, b);
    int64_t index = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / teams.size;
    for (int64_t round = 0; round < rounds; ++round, index += per_grid) {
      do_block(teams, operands, c, b, index);
    }
  });
}

template <typename T, int kRows>
void run_tiles(const Walk& walk, const Operands& operands, int64_t factor, Stream stream) {
  const int64_t lanes = std::max<int64_t>(1, factor / kVector);
  const int64_t strip = kVector * kWarp / lanes;
  const int64_t strips = (walk.columns + strip - 1) / strip, block_rows = walk.rows / factor;
  const Tiling tiling{walk.batch,
                      static_cast<uint32_t>(factor),
                      static_cast<uint32_t>(lanes),
                      static_cast<uint32_t>(block_rows),
                      static_cast<uint32_t>(strips),
                      static_cast<uint32_t>(walk.columns),
                      static_cast<uint32_t>(walk.outer * block_rows * strips)};
  const auto kernel =
      walk.inner == 1 ? &tiles_of_blocks<T, kRows, 1> : &tiles_of_blocks<T, kRows, 3>;
  launch_items(stream, walk.batch, int64_t{tiling.tiles} * kWarp, kernel, tiling, operands);
}

void run_teams(const Shape& shape, const Operands& operands, int64_t factor, Stream stream) {
  uint32_t size = 1;
  while (size < kWarp && size < factor * factor) size *= 2;
  const int64_t down = shape.rows / factor, across = shape.columns / factor;
  const Teams teams{
      shape.batch, down, across, shape.channels * down * across, static_cast<uint32_t>(factor),
      size};
  launch_items(stream, shape.batch, teams.blocks * size, &one_block_per_team, teams, operands);
}

}  // namespace

void launch_block_mean_bracket(const Shape& shape, const BracketViews& views, const View& y,
                               int64_t factor, const Table& coefficients, Stream stream) {
  View images[] = {views.raw, views.x, views.v, views.cotangent};
  const Walk walk = choose_row_walk(shape, images);
  const auto run = [&](auto type) {
    using T = decltype(type);
    Operands operands{{images[0], images[1], images[2], images[3]}, y, coefficients};
    if (walk.inner > 1) std::swap(operands.y.inner, operands.y.outer);
    if (factor == 2) {
      run_tiles<T, 2>(walk, operands, factor, stream);
    } else {
      run_tiles<T, 4>(walk, operands, factor, stream);
    }
  };
  const bool in_tiles = factor == 2 || factor == 4 || factor == 8 || factor == 16;
  if (walk.vectors && in_tiles && with_vector_type(views.raw.element, run)) return;
  run_teams(shape, {views, y, coefficients}, factor, stream);
}

}  // namespace vml_fast::cuda
