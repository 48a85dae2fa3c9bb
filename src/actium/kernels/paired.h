/* Rows of one tensor that lie apart in another: what the kernels of gated units add to block.h.
 *
 * A kernel walks (outer, inner) elements in blocks of at most ACT_LANES: a piece of one row where rows are long, else
 * several whole rows, gathered into a buffer and scattered from it. How it is cut depends on the shape alone.
 */
#ifndef ACTIUM_PAIRED_H
#define ACTIUM_PAIRED_H

/* Rows longer than this are computed one by one: two do not fit a block. */
enum { ACT_LONG_ROW = ACT_LANES / 2 };

typedef struct {
  int64_t pieces, rows, count; /* per row, per block, of blocks */
} act_cut;

static inline act_cut act_cut_of(int64_t outer, int64_t inner) {
  act_cut cut = {1, 1, outer};
  if (inner > ACT_LONG_ROW) {
    cut.pieces = (inner + ACT_LANES - 1) / ACT_LANES;
    cut.count = outer * cut.pieces;
  } else {
    cut.rows = ACT_LANES / inner;
    cut.count = (outer + cut.rows - 1) / cut.rows;
  }
  return cut;
}

#define ACT_COPY_ROWS_(to, to_step, from, from_step, rows, width)                                     \
  do {                                                                                                \
    for (int r_ = 0; r_ < (rows); r_++)                                                               \
      memcpy((to) + r_ * (to_step), (from) + r_ * (from_step), sizeof(T) * (size_t)(width));          \
  } while (0)

/* With a constant width a copy is a move or two; without, a call for every row. */
static inline void act_copy_rows(T *to, int64_t to_step, const T *from, int64_t from_step, int rows, int width) {
  switch (width) {
    case 1: ACT_COPY_ROWS_(to, to_step, from, from_step, rows, 1); break;
    case 2: ACT_COPY_ROWS_(to, to_step, from, from_step, rows, 2); break;
    case 3: ACT_COPY_ROWS_(to, to_step, from, from_step, rows, 3); break;
    case 4: ACT_COPY_ROWS_(to, to_step, from, from_step, rows, 4); break;
    case 8: ACT_COPY_ROWS_(to, to_step, from, from_step, rows, 8); break;
    case 16: ACT_COPY_ROWS_(to, to_step, from, from_step, rows, 16); break;
    case 32: ACT_COPY_ROWS_(to, to_step, from, from_step, rows, 32); break;
    default: ACT_COPY_ROWS_(to, to_step, from, from_step, rows, width);
  }
}

/* The rows as one run: where they are, if they lie together, else gathered into `to`. */
static inline const T *act_gather(const T *from, int64_t step, int rows, int width, T *to) {
  if (rows == 1 || step == width) return from;
  act_copy_rows(to, width, from, step, rows, width);
  return to;
}

#endif
