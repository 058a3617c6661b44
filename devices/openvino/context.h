/// What the files of this folder share.
#ifndef HSDI_DEVICES_OPENVINO_CONTEXT_H
#define HSDI_DEVICES_OPENVINO_CONTEXT_H

#include "devices/backend.h"

typedef struct hsdi_openvino_device {
    hsdi_device base;
    char *xml_path, *bin_path; ///< owned
    char *xml_part, *bin_part; ///< owned: names while they are written
    hsd_network_type type;
} hsdi_openvino_device;

typedef struct hsdi_openvino_weight {
    struct hsdi_weight base;
    const void *data; ///< borrowed for the weight's life, GGUF layout
} hsdi_openvino_weight;

typedef struct hsdi_openvino_graph {
    struct hsdi_graph base;
    hsd_network_port *ports; ///< owned [n_ports]
    int n_ports;
} hsdi_openvino_graph;

hsd_status hsdi_openvino_graph_compile(hsdi_device *device, const hsdi_graph_desc *desc,
                                       const struct hsdi_graph *shape, hsdi_graph **out,
                                       hsd_error *err);
void hsdi_openvino_graph_destroy(hsdi_graph *graph);

#endif
