/// Layers of the operation sets: names, versions, attributes, shapes of results.
#include "devices/openvino/layers.h"

/// A layer of one f32 input whose result has its shape.
static hsdi_ir_tensor map(hsdi_ir *ir, const char *type, const char *opset,
                          const char *const *attributes, hsdi_ir_tensor x)
{
    return hsdi_ir_add(ir, &(hsdi_ir_layer){.type = type,
                                            .opset = opset,
                                            .n_inputs = 1,
                                            .inputs = {x},
                                            .attributes = attributes,
                                            .out = hsdi_ir_shape_of(ir, x)});
}

/// A list of whole numbers as a constant.
static hsdi_ir_tensor numbers(hsdi_ir *ir, const int *x, int n)
{
    int64_t wide[HSD_NETWORK_MAX_DIMS];
    for (int i = 0; i < n; i++) {
        wide[i] = x[i];
    }
    return hsdi_ir_constant(ir, HSDI_IR_I64, HSDI_IR_SHAPE(n), wide);
}

hsdi_ir_tensor hsdi_ir_scalar(hsdi_ir *ir, float x)
{
    return hsdi_ir_constant(ir, HSDI_IR_F32, (hsdi_ir_shape){0}, &x);
}

/// Dimension `i` counted from the last one, 0 on; 1 where there is none.
static int from_last(const hsdi_ir_shape *s, int i)
{
    return i < s->n_dims ? s->dims[s->n_dims - 1 - i] : 1;
}

/// The dimensions of a and b broadcast, without the last `n_skip`, into `out` of as many
/// dimensions as the longer one has.
static hsdi_ir_shape broadcast(const hsdi_ir_shape *a, const hsdi_ir_shape *b, int n_skip)
{
    hsdi_ir_shape out = {.n_dims = a->n_dims > b->n_dims ? a->n_dims : b->n_dims};
    for (int i = n_skip; i < out.n_dims; i++) {
        int x = from_last(a, i), y = from_last(b, i);
        out.dims[out.n_dims - 1 - i] = x > y ? x : y;
    }
    return out;
}

hsdi_ir_tensor hsdi_ir_binary(hsdi_ir *ir, const char *type, hsdi_ir_tensor a, hsdi_ir_tensor b)
{
    const hsdi_ir_shape sa = hsdi_ir_shape_of(ir, a), sb = hsdi_ir_shape_of(ir, b);
    return hsdi_ir_add(
        ir, &(hsdi_ir_layer){.type = type,
                             .opset = "opset1",
                             .n_inputs = 2,
                             .inputs = {a, b},
                             .attributes = (const char *[]){"auto_broadcast", "numpy", NULL},
                             .out = broadcast(&sa, &sb, 0)});
}

hsdi_ir_tensor hsdi_ir_reshape(hsdi_ir *ir, hsdi_ir_tensor x, hsdi_ir_shape shape)
{
    return hsdi_ir_add(
        ir, &(hsdi_ir_layer){.type = "Reshape",
                             .opset = "opset1",
                             .n_inputs = 2,
                             .inputs = {x, numbers(ir, shape.dims, shape.n_dims)},
                             .attributes = (const char *[]){"special_zero", "false", NULL},
                             .out = shape});
}

hsdi_ir_tensor hsdi_ir_transpose(hsdi_ir *ir, hsdi_ir_tensor x, hsdi_ir_shape order)
{
    const hsdi_ir_shape from = hsdi_ir_shape_of(ir, x);
    hsdi_ir_shape out = from;
    for (int i = 0; i < from.n_dims; i++) {
        out.dims[i] = from.dims[order.dims[i]];
    }
    return hsdi_ir_add(ir, &(hsdi_ir_layer){.type = "Transpose",
                                            .opset = "opset1",
                                            .n_inputs = 2,
                                            .inputs = {x, numbers(ir, order.dims, order.n_dims)},
                                            .out = out});
}

hsdi_ir_tensor hsdi_ir_slice(hsdi_ir *ir, hsdi_ir_tensor x, int axis, int begin, int end)
{
    hsdi_ir_shape out = hsdi_ir_shape_of(ir, x);
    if (begin == 0 && end == out.dims[axis]) {
        return x;
    }
    out.dims[axis] = end - begin;
    hsdi_ir_layer layer = {
        .type = "Slice", .opset = "opset8", .n_inputs = 5, .inputs = {x}, .out = out};
    const int bounds[] = {begin, end, 1, axis};
    for (int i = 0; i < 4; i++) {
        layer.inputs[1 + i] = numbers(ir, &bounds[i], 1);
    }
    return hsdi_ir_add(ir, &layer);
}

hsdi_ir_tensor hsdi_ir_concat(hsdi_ir *ir, const hsdi_ir_tensor *x, int n, int axis)
{
    if (n == 1) {
        return x[0];
    }
    char text[16];
    snprintf(text, sizeof text, "%d", axis);
    hsdi_ir_layer layer = {.type = "Concat",
                           .opset = "opset1",
                           .n_inputs = n,
                           .attributes = (const char *[]){"axis", text, NULL},
                           .out = hsdi_ir_shape_of(ir, x[0])};
    layer.out.dims[axis] = 0;
    for (int i = 0; i < n; i++) {
        layer.inputs[i] = x[i];
        layer.out.dims[axis] += hsdi_ir_shape_of(ir, x[i]).dims[axis];
    }
    return hsdi_ir_add(ir, &layer);
}

hsdi_ir_tensor hsdi_ir_rows(hsdi_ir *ir, hsdi_ir_type type, hsdi_ir_tensor table,
                            hsdi_ir_tensor index)
{
    hsdi_ir_shape out = hsdi_ir_shape_of(ir, table);
    const int64_t axis = 0;
    out.dims[0] = hsdi_ir_shape_of(ir, index).dims[0];
    return hsdi_ir_add(ir, &(hsdi_ir_layer){.type = "Gather",
                                            .opset = "opset8",
                                            .n_inputs = 3,
                                            .inputs = {table, index,
                                                       hsdi_ir_constant(ir, HSDI_IR_I64,
                                                                        (hsdi_ir_shape){0}, &axis)},
                                            .attributes = (const char *[]){"batch_dims", "0", NULL},
                                            .out_type = type,
                                            .out = out});
}

hsdi_ir_tensor hsdi_ir_to_f32(hsdi_ir *ir, hsdi_ir_tensor x, bool is_weight)
{
    return hsdi_ir_add(
        ir, &(hsdi_ir_layer){.type = "Convert",
                             .opset = "opset1",
                             .n_inputs = 1,
                             .inputs = {x},
                             .attributes = (const char *[]){"destination_type", "f32", NULL},
                             .decompresses = is_weight,
                             .out = hsdi_ir_shape_of(ir, x)});
}

hsdi_ir_tensor hsdi_ir_matmul(hsdi_ir *ir, hsdi_ir_tensor a, hsdi_ir_tensor b, bool transpose_b)
{
    const hsdi_ir_shape sa = hsdi_ir_shape_of(ir, a), sb = hsdi_ir_shape_of(ir, b);
    hsdi_ir_shape out = broadcast(&sa, &sb, 2);
    if (out.n_dims >= 2) { // else the network has failed
        out.dims[out.n_dims - 2] = from_last(&sa, 1);
        out.dims[out.n_dims - 1] = from_last(&sb, transpose_b ? 1 : 0);
    }
    return hsdi_ir_add(
        ir, &(hsdi_ir_layer){.type = "MatMul",
                             .opset = "opset1",
                             .n_inputs = 2,
                             .inputs = {a, b},
                             .attributes = (const char *[]){"transpose_a", "false", "transpose_b",
                                                            transpose_b ? "true" : "false", NULL},
                             .out = out});
}

hsdi_ir_tensor hsdi_ir_softmax(hsdi_ir *ir, hsdi_ir_tensor x)
{
    return map(ir, "SoftMax", "opset8", (const char *[]){"axis", "-1", NULL}, x);
}

hsdi_ir_tensor hsdi_ir_mean(hsdi_ir *ir, hsdi_ir_tensor x)
{
    hsdi_ir_shape out = hsdi_ir_shape_of(ir, x);
    if (out.n_dims > 0) {
        out.dims[out.n_dims - 1] = 1;
    }
    return hsdi_ir_add(ir,
                       &(hsdi_ir_layer){.type = "ReduceMean",
                                        .opset = "opset1",
                                        .n_inputs = 2,
                                        .inputs = {x, numbers(ir, &(int){-1}, 1)},
                                        .attributes = (const char *[]){"keep_dims", "true", NULL},
                                        .out = out});
}

hsdi_ir_tensor hsdi_ir_sqrt(hsdi_ir *ir, hsdi_ir_tensor x)
{
    return map(ir, "Sqrt", "opset1", NULL, x);
}

hsdi_ir_tensor hsdi_ir_gelu(hsdi_ir *ir, hsdi_ir_tensor x)
{
    return map(ir, "Gelu", "opset7", (const char *[]){"approximation_mode", "TANH", NULL}, x);
}

hsdi_ir_tensor hsdi_ir_silu(hsdi_ir *ir, hsdi_ir_tensor x)
{
    return map(ir, "Swish", "opset4", NULL, x);
}
