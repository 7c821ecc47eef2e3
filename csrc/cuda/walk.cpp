#include "cuda/walk.h"

#include <algorithm>
#include <vector>

namespace vml_fast::cuda {

namespace {

// A walk that is being planned, with the views as it sees them.
struct Plan {
  Walk walk;
  std::vector<View> views;

  // Makes the dimensions `slow` and `fast` one, if all views allow it.
  void merge(int64_t Walk::* slow_size, int64_t View::* slow, int64_t Walk::* fast_size,
             int64_t View::* fast) {
    const int64_t many = walk.*slow_size, few = walk.*fast_size;
    const bool follow = std::all_of(views.begin(), views.end(), [&](const View& view) {
      return many == 1 || few == 1 || view.*slow == few * view.*fast;
    });
    if (!follow) return;
    for (View& view : views) {
      if (few == 1) view.*fast = view.*slow;
      view.*slow = 0;
    }
    walk.*fast_size *= many;
    walk.*slow_size = 1;
  }

  Plan& merge_rows() {
    merge(&Walk::rows, &View::row, &Walk::columns, &View::column);
    return *this;
  }

  Plan& merge_all() {
    merge_rows();
    if (walk.rows == 1) merge(&Walk::outer, &View::outer, &Walk::columns, &View::column);
    return *this;
  }

  bool is_one_row() const { return walk.outer == 1 && walk.rows == 1; }

  // Channels vary fastest.
  Plan interleaved() const {
    Plan plan = *this;
    plan.walk.outer = walk.rows;
    plan.walk.rows = walk.columns;
    plan.walk.columns = walk.outer;
    for (View& view : plan.views) {
      const View old = view;
      view.outer = old.row;
      view.row = old.column;
      view.column = old.outer;
    }
    return plan;
  }

  // All channels of a place belong together.
  Plan by_pixel() const {
    Plan plan = *this;
    plan.walk.inner = static_cast<int>(walk.outer);
    plan.walk.outer = 1;
    for (View& view : plan.views) {
      view.inner = view.outer;
      view.outer = 0;
    }
    return plan;
  }

  bool delivers_vectors(const View& view) const {
    const bool repeated = view.may_repeat && view.column == 0;
    const bool planar = view.column == 1 && view.inner % kVector == 0;
    const bool interleaved = walk.inner > 1 && view.column == walk.inner && view.inner == 1;
    const int64_t bytes = kVector * size_of(view.element);
    const bool aligned = reinterpret_cast<uintptr_t>(view.data) % bytes == 0 &&
                         (view.batch | view.outer | view.row) % kVector == 0;
    return repeated || ((planar || interleaved) && aligned);
  }

  bool try_vectors() {
    constexpr int64_t kMostItems = (int64_t{1} << 32) / kVector;  // of a sample: 32-bit indices
    const bool possible =
        walk.columns % kVector == 0 &&
        walk.outer * walk.rows * (walk.columns / kVector) < kMostItems &&
        std::all_of(
            views.begin(), views.end(), [&](const View& view) { return delivers_vectors(view); });
    walk.vectors = possible;
    return possible;
  }
};

Plan plan_of(const Shape& shape, std::span<View> views, int inner) {
  return {{shape.batch, shape.channels, shape.rows, shape.columns, inner, false},
          {views.begin(), views.end()}};
}

Walk take(const Plan& plan, std::span<View> views) {
  std::copy(plan.views.begin(), plan.views.end(), views.begin());
  return plan.walk;
}

Plan choose(const Plan& given, bool pixels_allowed) {
  Plan planar = Plan(given).merge_all();
  const bool vectors = planar.try_vectors();
  if (vectors && planar.is_one_row()) return planar;
  Plan interleaved = given.interleaved().merge_all();
  if (interleaved.is_one_row() && interleaved.try_vectors()) return interleaved;
  if (pixels_allowed && given.walk.outer == 3) {
    Plan pixels = given.by_pixel().merge_rows();
    if (pixels.try_vectors()) return pixels;
  }
  const View& first = given.views.front();
  return !vectors && first.outer == 1 && first.column != 1 ? interleaved : planar;
}

}  // namespace

Walk choose_walk(const Shape& shape, std::span<View> views, int inner, bool pixels) {
  return take(choose(plan_of(shape, views, inner), pixels), views);
}

Walk choose_pixel_walk(const Shape& shape, std::span<View> views) {
  Plan plan = plan_of(shape, views, 1).by_pixel().merge_rows();
  if (shape.channels == 1 || shape.channels == 3) plan.try_vectors();
  return take(plan, views);
}

Walk choose_row_walk(const Shape& shape, std::span<View> views) {
  Plan planar = plan_of(shape, views, 1);
  if (planar.try_vectors() || shape.channels != 3) return take(planar, views);
  Plan pixels = planar.by_pixel();
  return take(pixels.try_vectors() ? pixels : planar, views);
}

}  // namespace vml_fast::cuda
