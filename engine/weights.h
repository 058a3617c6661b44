/// The weights of a model on a device, and the graphs built from them.
#ifndef HSDI_ENGINE_WEIGHTS_H
#define HSDI_ENGINE_WEIGHTS_H

#include "devices/device.h"
#include "engine/model.h"

typedef struct hsdi_weights hsdi_weights;

/// Put layers [begin, end) of a model on a device, and with the first layer the embedding, with the
/// last one final norm and LM head. The model must outlive the weights. Graphs on other devices of
/// the same backend may use them too, but for OpenCL.
///
/// layouts : [n_layers] what each layer of the model caches; NULL: keys and values in all of them.
///           A layer of HSDI_LAYOUT_EL takes other operands, so it is decided here.
/// Errors  : as hsdi_el_check; those of hsdi_weight_create.
HSD_NODISCARD hsd_status hsdi_weights_create(const hsdi_model *model, int begin, int end,
                                             const hsdi_layout *layouts, hsdi_device *device,
                                             hsdi_weights **out, hsd_error *err);
void hsdi_weights_destroy(hsdi_weights **weights);
size_t hsdi_weights_bytes(const hsdi_weights *weights);
const hsdi_model *hsdi_weights_model(const hsdi_weights *weights);
int hsdi_weights_begin(const hsdi_weights *weights); ///< first layer that is there
int hsdi_weights_end(const hsdi_weights *weights);   ///< last one plus one
/// [n_layers] of the model; borrowed until the weights are destroyed.
const hsdi_layout *hsdi_weights_layouts(const hsdi_weights *weights);

/// What a graph computes of its layers.
typedef enum hsdi_graph_what {
    HSDI_GRAPH_PASS = 0,   ///< rows through the layers, as the range says
    HSDI_GRAPH_INPUTS = 1, ///< what enters each layer, [hsdi_graph_inputs, n_embd] into `out`, and
                           ///< behind it the hidden row, unless the range ends with the model.
                           ///< Rows attend to cells that are there; nothing is stored
    HSDI_GRAPH_CELLS = 2,  ///< from such rows in `in` the cells; nothing else is computed
} hsdi_graph_what;

/// Layers whose input a token and its position do not tell: all but the model's first.
int hsdi_graph_inputs(int begin, int end);

/// Which part of a model a graph computes.
typedef struct hsdi_graph_range {
    hsdi_graph_what what;
    int begin, end;   ///< layers
    bool from_tokens; ///< starts with the embedding; else with hidden rows from the job's `in`
    bool head;        ///< ends with final norm and LM head into `out`; else with hidden rows
    bool fill_only;   ///< no output at all: only the cache is filled
    int n_list;       ///< with the head: lists of so many tokens instead of logits; 0: logits
    bool with_sum;    ///< of the lists, see hsdi_top_width and hsdi_draw_width
    bool drawn;       ///< lists by HSDI_OP_DRAW instead of HSDI_OP_TOP
    int n_rows_max, n_ctx;
    hsd_cache_type cache_type; ///< of the caches; hsdi_runner_graph fills it in
} hsdi_graph_range;

/// Compile a range of layers for a device. The first layer of the weights uses layer 0 of the
/// cache. A range without layers is the head alone.
///
/// Errors : HSD_EINVAL; HSD_ENOMEM; HSD_EUNSUPPORTED for lists where the device makes none.
HSD_NODISCARD hsd_status hsdi_weights_compile(const hsdi_weights *weights, hsdi_device *device,
                                              const hsdi_graph_range *range, hsdi_graph **out,
                                              hsd_error *err);

#endif
