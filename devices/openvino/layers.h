/// Layers of the operation sets as functions on tensors: shapes of the results are worked out here.
#ifndef HSDI_DEVICES_OPENVINO_LAYERS_H
#define HSDI_DEVICES_OPENVINO_LAYERS_H

#include "devices/openvino/ir.h"

hsdi_ir_tensor hsdi_ir_scalar(hsdi_ir *ir, float x);
/// "Add", "Multiply", "Divide", "Subtract" with NumPy's broadcasting.
hsdi_ir_tensor hsdi_ir_binary(hsdi_ir *ir, const char *type, hsdi_ir_tensor a, hsdi_ir_tensor b);
hsdi_ir_tensor hsdi_ir_reshape(hsdi_ir *ir, hsdi_ir_tensor x, hsdi_ir_shape shape);
/// Dimension i of the result is dimension order.dims[i] of x.
hsdi_ir_tensor hsdi_ir_transpose(hsdi_ir *ir, hsdi_ir_tensor x, hsdi_ir_shape order);
/// [begin, end) of an axis.
hsdi_ir_tensor hsdi_ir_slice(hsdi_ir *ir, hsdi_ir_tensor x, int axis, int begin, int end);
hsdi_ir_tensor hsdi_ir_concat(hsdi_ir *ir, const hsdi_ir_tensor *x, int n, int axis);
/// Rows `index` [n] of a table [any, ..] of a type: [n, ..].
hsdi_ir_tensor hsdi_ir_rows(hsdi_ir *ir, hsdi_ir_type type, hsdi_ir_tensor table,
                            hsdi_ir_tensor index);
/// Convert f16 or i8. A weight may be kept as it is by plugins that multiply in f16.
hsdi_ir_tensor hsdi_ir_to_f32(hsdi_ir *ir, hsdi_ir_tensor x, bool is_weight);
/// a [.., n, k] times b [.., k, m], or [.., m, k] when transposed; leading dimensions broadcast.
hsdi_ir_tensor hsdi_ir_matmul(hsdi_ir *ir, hsdi_ir_tensor a, hsdi_ir_tensor b, bool transpose_b);
/// Over the last dimension.
hsdi_ir_tensor hsdi_ir_softmax(hsdi_ir *ir, hsdi_ir_tensor x);
hsdi_ir_tensor hsdi_ir_mean(hsdi_ir *ir, hsdi_ir_tensor x);
hsdi_ir_tensor hsdi_ir_sqrt(hsdi_ir *ir, hsdi_ir_tensor x);
hsdi_ir_tensor hsdi_ir_gelu(hsdi_ir *ir, hsdi_ir_tensor x); ///< tanh approximation
hsdi_ir_tensor hsdi_ir_silu(hsdi_ir *ir, hsdi_ir_tensor x);

#endif
