// The largest of a row, in order, and the sum of exp over it: what HSDI_OP_TOP makes.
//
// A row goes in chunks to groups of their own, then one group merges their lists. The order is
// value, then column, both of a row alone; the sums run within a chunk as in a norm, then over the
// chunks. So neither the number of rows nor that of groups at work decides a bit.

// Of elements me, me + GROUP, .. of x, stride floats apart: the largest that comes behind
// (value, place) in the order; n: there is none. NaN and -inf are none.
int largest_behind(__global const float *x, int stride, int n, float value, int place)
{
    float best = -INFINITY;
    int at = n;
    for (int i = get_local_id(0); i < n; i += GROUP) {
        float e = x[i * stride];
        if (e > best && (e < value || (e == value && i > place))) {
            best = e;
            at = i;
        }
    }
    return at;
}

// List the n_top largest of x. An element's column is `first` and its place or, with two floats to
// an element, its second one. Returns the largest. Every work-item must call it.
float list_top(__global const float *x, int stride, int n, int first, int n_top,
               __global float *list, __local float *values, __local int *places)
{
    int me = get_local_id(0), mine = largest_behind(x, stride, n, INFINITY, -1);
    float top = -INFINITY;
    for (int k = 0; k < n_top; k++) {
        barrier(CLK_LOCAL_MEM_FENCE); // all have read the winner before
        values[me] = mine < n ? x[mine * stride] : -INFINITY;
        places[me] = mine;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int half_of = GROUP / 2; half_of > 0; half_of /= 2) {
            int other = me + half_of;
            if (me < half_of && (values[other] > values[me] ||
                                 (values[other] == values[me] && places[other] < places[me]))) {
                values[me] = values[other];
                places[me] = places[other];
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        float value = values[0];
        int place = places[0];
        top = k == 0 ? value : top;
        if (me == 0) {
            list[2 * k] = value;
            list[2 * k + 1] = place == n    ? -1.0f
                              : stride == 1 ? (float)(first + place)
                                            : x[place * stride + 1];
        }
        if (mine == place && place < n) {
            mine = largest_behind(x, stride, n, value, place);
        }
    }
    return top;
}

// The lists of a row's chunks, one behind the other, then their sums.
// Groups: (chunks, n_rows).
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
top_parts(__global const float *x, int x_at, int x_stride, int n, int chunk, int n_top,
          int with_sum, __global float *parts)
{
    __local float values[GROUP];
    __local int places[GROUP];
    int c = get_group_id(0), n_chunks = get_num_groups(0), first = c * chunk;
    int here = min(chunk, n - first);
    size_t r = get_global_id(1);
    __global const float *from = x + r * x_stride + x_at + first;
    __global float *row = parts + r * n_chunks * (2 * n_top + 1);
    float top = list_top(from, 1, here, first, n_top, row + 2 * n_top * c, values, places);
    if (with_sum) {
        float sum = 0.0f;
        for (int i = get_local_id(0); i < here; i += GROUP) {
            sum += from[i] == -INFINITY ? 0.0f : exp1(from[i] - top);
        }
        sum = group_sum(sum, values);
        if (get_local_id(0) == 0) {
            row[2 * n_top * n_chunks + c] = sum;
        }
    }
}

// y = the list of a row from those of its chunks. Groups: (1, n_rows).
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
top_merge(__global const float *parts, int n_chunks, int n_top, int with_sum, __global float *y,
          int y_at, int y_stride)
{
    __local float values[GROUP];
    __local int places[GROUP];
    size_t r = get_global_id(1);
    __global const float *row = parts + r * n_chunks * (2 * n_top + 1);
    __global float *list = y + r * y_stride + y_at;
    float top = list_top(row, 2, n_chunks * n_top, 0, n_top, list, values, places);
    if (with_sum) {
        float sum = 0.0f;
        for (int c = get_local_id(0); c < n_chunks; c += GROUP) {
            float part = row[2 * n_top * n_chunks + c], its_top = row[2 * n_top * c];
            sum += its_top == -INFINITY ? part : part * exp1(its_top - top);
        }
        sum = group_sum(sum, values);
        if (get_local_id(0) == 0) {
            list[2 * n_top] = sum;
        }
    }
}
