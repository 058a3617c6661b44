/// What a build without mxml says of networks.
#include "base/error.h"
#include "devices/device.h"

hsd_status hsdi_device_open_openvino(const hsdi_openvino_options *options, hsdi_device **out,
                                     hsd_error *err)
{
    (void)options;
    (void)out;
    return hsdi_fail(err, HSD_EUNSUPPORTED, "openvino",
                     "this build writes no networks (HSD_OPENVINO)");
}

int hsdi_openvino_ports(const hsdi_graph *graph, const hsd_network_port **out)
{
    (void)graph; // none can have been compiled
    *out = NULL;
    return 0;
}
