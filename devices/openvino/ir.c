/// Layers, edges and constants of OpenVINO IR 11.
/// Source: https://docs.openvino.ai, "OpenVINO IR format" and "Operation sets".
#include "devices/openvino/ir.h"

#include "base/error.h"

#include <errno.h>
#include <mxml.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN_BYTES = 64 }; ///< of constants in their file, so that a map of it can be used as it is

typedef struct tensor {
    int layer, port;
    hsdi_ir_type type;
    hsdi_ir_shape shape;
    mxml_node_t *node; ///< the port that names it
} tensor;

struct hsdi_ir {
    FILE *bin;
    const char *bin_name;
    int64_t n_bytes; ///< written to bin
    mxml_node_t *doc, *layers, *edges;
    int n_layers;
    tensor *tensors;
    int n_tensors, cap_tensors;
    hsd_network_port *ports;
    int n_ports, cap_ports;
    hsd_error failure; ///< status HSD_OK: none
};

static const struct {
    const char *element, *precision;
    int bytes;
} types[] = {
    [HSDI_IR_F32] = {"f32", "FP32", 4}, [HSDI_IR_F16] = {"f16", "FP16", 2},
    [HSDI_IR_I32] = {"i32", "I32", 4},  [HSDI_IR_I64] = {"i64", "I64", 8},
    [HSDI_IR_I8] = {"i8", "I8", 1},
};

static bool failed(const hsdi_ir *ir)
{
    return ir->failure.status != HSD_OK;
}

void hsdi_ir_fail(hsdi_ir *ir, hsd_status status, const char *where, const char *message)
{
    if (!failed(ir)) {
        (void)hsdi_fail(&ir->failure, status, where, "%s", message);
    }
}

static void out_of_memory(hsdi_ir *ir)
{
    hsdi_ir_fail(ir, HSD_ENOMEM, "network", "memory is short");
}

/// A child element; NULL, which mxml takes everywhere, when memory is short.
static mxml_node_t *element(hsdi_ir *ir, mxml_node_t *parent, const char *name)
{
    mxml_node_t *node = parent ? mxmlNewElement(parent, name) : NULL;
    if (!node) {
        out_of_memory(ir);
    }
    return node;
}

hsdi_ir *hsdi_ir_create(const char *name, FILE *bin, const char *bin_name)
{
    hsdi_ir *ir = calloc(1, sizeof *ir);
    if (!ir) {
        return NULL;
    }
    ir->bin = bin;
    ir->bin_name = bin_name;
    ir->doc = mxmlNewXML("1.0");
    mxml_node_t *net = element(ir, ir->doc, "net");
    mxmlElementSetAttr(net, "name", name);
    mxmlElementSetAttr(net, "version", "11");
    ir->layers = element(ir, net, "layers");
    ir->edges = element(ir, net, "edges");
    return ir;
}

void hsdi_ir_destroy(hsdi_ir **ir)
{
    if (*ir) {
        mxmlDelete((*ir)->doc);
        free((*ir)->tensors);
        free((*ir)->ports);
        free(*ir);
        *ir = NULL;
    }
}

hsdi_ir_shape hsdi_ir_shape_of(const hsdi_ir *ir, hsdi_ir_tensor t)
{
    return failed(ir) ? (hsdi_ir_shape){0} : ir->tensors[t].shape;
}

/// Room for one more element of an array that grows by doubling.
static bool reserve(hsdi_ir *ir, void **array, int n, int *cap, size_t element_bytes)
{
    if (n < *cap) {
        return true;
    }
    int grown_cap = 2 * *cap + 64;
    void *grown = realloc(*array, (size_t)grown_cap * element_bytes);
    if (!grown) {
        out_of_memory(ir);
        return false;
    }
    *array = grown;
    *cap = grown_cap;
    return true;
}

static mxml_node_t *new_layer(hsdi_ir *ir, const char *type, const char *opset, const char *name)
{
    mxml_node_t *layer = element(ir, ir->layers, "layer");
    mxmlElementSetAttrf(layer, "id", "%d", ir->n_layers);
    if (name) {
        mxmlElementSetAttr(layer, "name", name);
    } else {
        mxmlElementSetAttrf(layer, "name", "%s_%d", type, ir->n_layers);
    }
    mxmlElementSetAttr(layer, "type", type);
    mxmlElementSetAttr(layer, "version", opset);
    ir->n_layers++;
    return layer;
}

static mxml_node_t *new_port(hsdi_ir *ir, mxml_node_t *list, int id, hsdi_ir_type type,
                             const hsdi_ir_shape *shape)
{
    mxml_node_t *port = element(ir, list, "port");
    mxmlElementSetAttrf(port, "id", "%d", id);
    mxmlElementSetAttr(port, "precision", types[type].precision);
    for (int i = 0; i < shape->n_dims; i++) {
        mxml_node_t *dim = element(ir, port, "dim");
        if (!failed(ir)) {
            mxmlNewInteger(dim, shape->dims[i]);
        }
    }
    return port;
}

/// The output of the newest layer as a tensor.
static hsdi_ir_tensor new_tensor(hsdi_ir *ir, mxml_node_t *layer, int port, hsdi_ir_type type,
                                 const hsdi_ir_shape *shape)
{
    mxml_node_t *node = new_port(ir, element(ir, layer, "output"), port, type, shape);
    void *tensors = ir->tensors;
    bool ok = reserve(ir, &tensors, ir->n_tensors, &ir->cap_tensors, sizeof *ir->tensors);
    ir->tensors = tensors;
    if (!ok || failed(ir)) {
        return 0;
    }
    ir->tensors[ir->n_tensors] = (tensor){ir->n_layers - 1, port, type, *shape, node};
    return ir->n_tensors++;
}

/// The inputs of the newest layer and the edges to them.
static void connect(hsdi_ir *ir, mxml_node_t *layer, const hsdi_ir_tensor *inputs, int n_inputs)
{
    mxml_node_t *list = n_inputs > 0 ? element(ir, layer, "input") : NULL;
    for (int i = 0; i < n_inputs && !failed(ir); i++) {
        const tensor *t = &ir->tensors[inputs[i]];
        new_port(ir, list, i, t->type, &t->shape);
        mxml_node_t *edge = element(ir, ir->edges, "edge");
        mxmlElementSetAttrf(edge, "from-layer", "%d", t->layer);
        mxmlElementSetAttrf(edge, "from-port", "%d", t->port);
        mxmlElementSetAttrf(edge, "to-layer", "%d", ir->n_layers - 1);
        mxmlElementSetAttrf(edge, "to-port", "%d", i);
    }
}

/// <data element_type=".." shape="..">
static mxml_node_t *add_data(hsdi_ir *ir, mxml_node_t *layer, hsdi_ir_type type,
                             const hsdi_ir_shape *shape)
{
    char text[HSD_NETWORK_MAX_DIMS * 12] = "";
    for (int i = 0, at = 0; i < shape->n_dims; i++) {
        at += snprintf(text + at, sizeof text - (size_t)at, i ? ",%d" : "%d", shape->dims[i]);
    }
    mxml_node_t *data = element(ir, layer, "data");
    mxmlElementSetAttr(data, "element_type", types[type].element);
    mxmlElementSetAttr(data, "shape", text);
    return data;
}

static void note_port(hsdi_ir *ir, const char *name, bool is_output, hsdi_ir_type type,
                      const hsdi_ir_shape *shape)
{
    void *ports = ir->ports;
    bool ok = reserve(ir, &ports, ir->n_ports, &ir->cap_ports, sizeof *ir->ports);
    ir->ports = ports;
    if (ok) {
        hsd_network_port *p = &ir->ports[ir->n_ports++];
        *p = (hsd_network_port){.is_output = is_output, .n_dims = shape->n_dims};
        snprintf(p->name, sizeof p->name, "%s", name);
        snprintf(p->type, sizeof p->type, "%s", types[type].element);
        memcpy(p->dims, shape->dims, sizeof p->dims);
    }
}

hsdi_ir_tensor hsdi_ir_input(hsdi_ir *ir, const char *name, hsdi_ir_type type, hsdi_ir_shape shape)
{
    if (failed(ir)) {
        return 0;
    }
    mxml_node_t *layer = new_layer(ir, "Parameter", "opset1", name);
    add_data(ir, layer, type, &shape);
    hsdi_ir_tensor t = new_tensor(ir, layer, 0, type, &shape);
    if (!failed(ir)) {
        mxmlElementSetAttr(ir->tensors[t].node, "names", name);
    }
    note_port(ir, name, false, type, &shape);
    return t;
}

static void put(hsdi_ir *ir, const void *data, size_t n_bytes)
{
    if (!failed(ir) && fwrite(data, 1, n_bytes, ir->bin) != n_bytes) {
        (void)hsdi_fail_errno(&ir->failure, HSD_EIO, ir->bin_name, errno, "writing");
    }
    ir->n_bytes += (int64_t)n_bytes;
}

/// A constant layer whose bytes the caller puts next.
static hsdi_ir_tensor begin_constant(hsdi_ir *ir, hsdi_ir_type type, const hsdi_ir_shape *shape)
{
    static const char zeros[ALIGN_BYTES];
    put(ir, zeros, (size_t)(-ir->n_bytes & (ALIGN_BYTES - 1)));
    int64_t n_bytes = types[type].bytes;
    for (int i = 0; i < shape->n_dims; i++) {
        n_bytes *= shape->dims[i];
    }
    mxml_node_t *layer = new_layer(ir, "Const", "opset1", NULL);
    mxml_node_t *data = add_data(ir, layer, type, shape);
    mxmlElementSetAttrf(data, "offset", "%lld", (long long)ir->n_bytes);
    mxmlElementSetAttrf(data, "size", "%lld", (long long)n_bytes);
    return new_tensor(ir, layer, 0, type, shape);
}

hsdi_ir_tensor hsdi_ir_constant(hsdi_ir *ir, hsdi_ir_type type, hsdi_ir_shape shape,
                                const void *data)
{
    if (failed(ir)) {
        return 0;
    }
    hsdi_ir_tensor t = begin_constant(ir, type, &shape);
    size_t n_bytes = (size_t)types[type].bytes;
    for (int i = 0; i < shape.n_dims; i++) {
        n_bytes *= (size_t)shape.dims[i];
    }
    put(ir, data, n_bytes);
    return t;
}

static void put_halves(hsdi_ir *ir, const float *row, int n, uint16_t *halves)
{
    for (int i = 0; i < n; i++) {
        halves[i] = hsdi_f32_to_f16(row[i]);
        if ((halves[i] & 0x7c00) == 0x7c00) {
            hsdi_ir_fail(ir, HSD_EUNSUPPORTED, "weight", "a value is beyond f16; f32 holds it");
        }
    }
    put(ir, halves, (size_t)n * sizeof *halves);
}

hsdi_ir_tensor hsdi_ir_matrix(hsdi_ir *ir, hsdi_ir_type type, hsdi_type from, int n_out, int n_in,
                              const void *data)
{
    if (failed(ir)) {
        return 0;
    }
    float *row = malloc((size_t)n_in * (sizeof(float) + sizeof(uint16_t)));
    if (!row) {
        out_of_memory(ir);
        return 0;
    }
    const hsdi_type_info *info = hsdi_type_find(from);
    size_t row_bytes = (size_t)(n_in / info->block_elems) * (size_t)info->block_bytes;
    hsdi_ir_tensor t = begin_constant(ir, type, &HSDI_IR_SHAPE(n_out, n_in));
    for (int i = 0; i < n_out && !failed(ir); i++) {
        hsdi_dequant_row(from, (const char *)data + (size_t)i * row_bytes, n_in, row);
        if (type == HSDI_IR_F16) {
            put_halves(ir, row, n_in, (uint16_t *)(row + n_in));
        } else {
            put(ir, row, (size_t)n_in * sizeof *row);
        }
    }
    free(row);
    return t;
}

void hsdi_ir_q8_0(hsdi_ir *ir, int n_out, int n_in, const void *data, hsdi_ir_tensor *quants,
                  hsdi_ir_tensor *scales)
{
    enum { SCALE_BYTES = 2, QUANTS = 32, BLOCK_BYTES = SCALE_BYTES + QUANTS };
    int n_blocks = n_in / QUANTS;
    const char *blocks = data;
    *quants = *scales = 0;
    if (failed(ir)) {
        return;
    }
    *quants = begin_constant(ir, HSDI_IR_I8, &HSDI_IR_SHAPE(n_out, n_blocks, QUANTS));
    for (int64_t i = 0; i < (int64_t)n_out * n_blocks; i++) {
        put(ir, blocks + i * BLOCK_BYTES + SCALE_BYTES, QUANTS);
    }
    *scales = begin_constant(ir, HSDI_IR_F16, &HSDI_IR_SHAPE(n_out, n_blocks, 1));
    for (int64_t i = 0; i < (int64_t)n_out * n_blocks; i++) {
        put(ir, blocks + i * BLOCK_BYTES, SCALE_BYTES);
    }
}

hsdi_ir_tensor hsdi_ir_add(hsdi_ir *ir, const hsdi_ir_layer *l)
{
    if (failed(ir)) {
        return 0;
    }
    mxml_node_t *layer = new_layer(ir, l->type, l->opset, NULL);
    mxml_node_t *data = l->attributes ? element(ir, layer, "data") : NULL;
    for (const char *const *a = l->attributes; a && *a; a += 2) {
        mxmlElementSetAttr(data, a[0], a[1]);
    }
    if (l->decompresses) {
        mxml_node_t *note = element(ir, element(ir, layer, "rt_info"), "attribute");
        mxmlElementSetAttr(note, "name", "decompression");
        mxmlElementSetAttr(note, "version", "0");
    }
    connect(ir, layer, l->inputs, l->n_inputs);
    return new_tensor(ir, layer, l->n_inputs, l->out_type, &l->out);
}

void hsdi_ir_output(hsdi_ir *ir, hsdi_ir_tensor t, const char *name)
{
    if (failed(ir)) {
        return;
    }
    const tensor *from = &ir->tensors[t];
    const char *others = mxmlElementGetAttr(from->node, "names");
    mxmlElementSetAttrf(from->node, "names", "%s%s%s", others ? others : "", others ? "," : "",
                        name);
    connect(ir, new_layer(ir, "Result", "opset1", name), &t, 1);
    note_port(ir, name, true, from->type, &from->shape);
}

/// A line per element; nothing may stand before the declaration.
static const char *line_break(mxml_node_t *node, int where)
{
    const char *name = mxmlGetElement(node);
    bool stays = !name || name[0] == '?' || strcmp(name, "dim") == 0;
    return where == MXML_WS_BEFORE_OPEN && !stays ? "\n" : NULL;
}

hsd_status hsdi_ir_finish(hsdi_ir *ir, char **xml, hsd_network_port **ports, int *n_ports,
                          hsd_error *err)
{
    char *text = failed(ir) ? NULL : mxmlSaveAllocString(ir->doc, line_break);
    if (!text) {
        out_of_memory(ir);
        if (err) {
            *err = ir->failure;
        }
        return ir->failure.status;
    }
    *xml = text;
    *ports = ir->ports;
    *n_ports = ir->n_ports;
    ir->ports = NULL;
    ir->n_ports = ir->cap_ports = 0;
    return HSD_OK;
}
