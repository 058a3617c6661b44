/// OpenVINO's intermediate representation, version 11: layers and edges as XML, constants in a file
/// of bytes. Knows the format; what a layer computes is its caller's matter.
///
/// The first failure stays: what is called afterwards does nothing, and hsdi_ir_finish reports it.
/// So a network is put together without a check at every layer.
#ifndef HSDI_DEVICES_OPENVINO_IR_H
#define HSDI_DEVICES_OPENVINO_IR_H

#include "kernels/kernels.h"

#include <hsd/network.h>
#include <hsd/status.h>
#include <stdio.h>

typedef struct hsdi_ir hsdi_ir;

/// Number of a tensor, the output of a layer. After a failure any number.
typedef int hsdi_ir_tensor;

typedef enum hsdi_ir_type {
    HSDI_IR_F32 = 0,
    HSDI_IR_F16 = 1,
    HSDI_IR_I32 = 2,
    HSDI_IR_I64 = 3,
    HSDI_IR_I8 = 4,
} hsdi_ir_type;

enum { HSDI_IR_MAX_INPUTS = 8 };

typedef struct hsdi_ir_shape {
    int n_dims; ///< 0: a scalar
    int dims[HSD_NETWORK_MAX_DIMS];
} hsdi_ir_shape;

#define HSDI_IR_SHAPE(...)                                                                         \
    ((hsdi_ir_shape){(int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), {__VA_ARGS__}})

/// A layer other than inputs, constants and results. `attributes` holds names and values in turn,
/// ends with NULL, and may be NULL itself.
typedef struct hsdi_ir_layer {
    const char *type, *opset; ///< "MatMul", "opset1"
    int n_inputs;
    hsdi_ir_tensor inputs[HSDI_IR_MAX_INPUTS];
    const char *const *attributes;
    bool decompresses; ///< the input is a constant that plugins may keep in its smaller type
    hsdi_ir_type out_type;
    hsdi_ir_shape out;
} hsdi_ir_layer;

/// An empty network. Constants go to `bin` as they come; `bin` and `bin_name` (for messages) are
/// borrowed until hsdi_ir_destroy. NULL when memory is short.
hsdi_ir *hsdi_ir_create(const char *name, FILE *bin, const char *bin_name);
void hsdi_ir_destroy(hsdi_ir **ir);

hsdi_ir_shape hsdi_ir_shape_of(const hsdi_ir *ir, hsdi_ir_tensor t);
hsdi_ir_tensor hsdi_ir_input(hsdi_ir *ir, const char *name, hsdi_ir_type type, hsdi_ir_shape shape);
hsdi_ir_tensor hsdi_ir_constant(hsdi_ir *ir, hsdi_ir_type type, hsdi_ir_shape shape,
                                const void *data);
/// A matrix [n_out, n_in] of a model (GGUF layout) as f32, or as f16 rounded to nearest even. Fails
/// when a value is beyond f16.
hsdi_ir_tensor hsdi_ir_matrix(hsdi_ir *ir, hsdi_ir_type type, hsdi_type from, int n_out, int n_in,
                              const void *data);
/// A matrix of type Q8_0 as it is: quants i8 [n_out, n_in/32, 32], scales f16 [n_out, n_in/32, 1].
void hsdi_ir_q8_0(hsdi_ir *ir, int n_out, int n_in, const void *data, hsdi_ir_tensor *quants,
                  hsdi_ir_tensor *scales);
hsdi_ir_tensor hsdi_ir_add(hsdi_ir *ir, const hsdi_ir_layer *layer);
/// Make a tensor an output of the network.
void hsdi_ir_output(hsdi_ir *ir, hsdi_ir_tensor t, const char *name);

/// Keep the first failure; `where` is borrowed for the call.
void hsdi_ir_fail(hsdi_ir *ir, hsd_status status, const char *where, const char *message);

/// The whole XML text, to free(); *ports [*n_ports], to free(): inputs and outputs as they came.
///
/// Errors : the first failure: HSD_ENOMEM, HSD_EIO with errno, HSD_EUNSUPPORTED, HSD_EINVAL.
HSD_NODISCARD hsd_status hsdi_ir_finish(hsdi_ir *ir, char **xml, hsd_network_port **ports,
                                        int *n_ports, hsd_error *err);

#endif
