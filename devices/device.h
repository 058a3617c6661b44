/// Devices: memory, graphs and submission. The only way from `engine` to hardware.
///
/// A caller builds a graph (devices/graph.h) for a range of layers once, compiles it for a device
/// once and submits it many times. What changes from one submission to the next is data: jobs.
/// This front end checks everything; backends trust what they get. The step path (hsdi_graph_run)
/// allocates nothing.
#ifndef HSDI_DEVICES_DEVICE_H
#define HSDI_DEVICES_DEVICE_H

#include "base/log.h"
#include "devices/draw.h"
#include "devices/graph.h"
#include "kernels/kernels.h"

#include <hsd/network.h>
#include <hsd/status.h>
#include <stddef.h>

/// A place that computes. Thread: one submission at a time; hsdi_graph_run waits for its turn.
/// Lifetime: until hsdi_device_close, after everything made on it.
typedef struct hsdi_device hsdi_device;

/// A matrix or vector of a model, in the device's own layout. Immutable after creation; shared by
/// any number of graphs on devices of the same backend.
typedef struct hsdi_weight hsdi_weight;

/// What layers keep of one session's tokens: n_layers times [n_cells, width] for k and for v, or
/// [n_cells, el_width] for a layer's input, by the layer's layout.
typedef struct hsdi_cache hsdi_cache;

/// What a cache is to hold. A graph that stores or attends names the same type.
typedef struct hsdi_cache_desc {
    int n_layers, n_cells;
    int width;    ///< elements of a key, and of a value: n_kv * d_head
    int d_head;   ///< elements of one head: blocks of a type do not cross it; 0: width
    int el_width; ///< elements of a layer's input, where a layer keeps that
    const hsdi_layout *layouts; ///< [n_layers], borrowed; NULL: keys and values in all
    hsd_cache_type type;        ///< of the elements, in all layers
} hsdi_cache_desc;

/// Rows of f32 that outlive a submission: hidden states between graphs, logits.
typedef struct hsdi_buffer hsdi_buffer;

/// A compiled graph. Thread: as its device.
typedef struct hsdi_graph hsdi_graph;

typedef struct hsdi_device_info {
    const char *backend; ///< "cpu", "opencl", "level_zero", "openvino", "null"; static
    char name[64];       ///< "cpu avx512, cores 0-1"
    char note[160];      ///< what opening it has to say, for a log; may be empty
    int n_threads;       ///< largest number of threads a job can use
    bool has_top;        ///< graphs may end with HSDI_OP_TOP or HSDI_OP_DRAW
    bool prefers_top;    ///< and should, rather than with logits
} hsdi_device_info;

/// Settings of the CPU device.
typedef struct hsdi_cpu_options {
    const int *cpus; ///< OS indices to pin to, one per thread; NULL: no pinning
    int n_threads;   ///< at least 1; the submitting thread is one of them
    hsdi_isa isa;    ///< highest instruction set to use
} hsdi_cpu_options;

/// What the null device does instead of computing. It counts, fails and delays on request.
typedef struct hsdi_null_options {
    int64_t delay_ns; ///< time each submission takes
    int64_t fail_at;  ///< submission, from 1, that fails with HSD_EDEVICE; 0: none
} hsdi_null_options;

/// What an OpenCL device says of itself.
typedef struct hsdi_opencl_info {
    const char *type; ///< "gpu", "cpu", "accelerator", "other"; static
    char name[128], driver[128];
    int64_t memory_bytes;
    int n_units;        ///< compute units
    char features[128]; ///< "OpenCL 3.0, fp16, shares memory"
    char pci[16];       ///< "0000:03:00.0"; empty: not known
    bool shares_memory; ///< it uses the host's
} hsdi_opencl_info;

/// The OpenCL devices of this machine; the index of each is its number for opening it.
///
/// Shapes : out [cap]. *n_out is their number, also when it exceeds cap.
/// Errors : HSD_EDEVICE when there is none, with the reason.
HSD_NODISCARD hsd_status hsdi_opencl_list(hsdi_opencl_info *out, int cap, int *n_out,
                                          hsd_error *err);

/// What a Level Zero device says of itself.
typedef struct hsdi_level_zero_info {
    const char *type; ///< "gpu", "cpu", "npu", "fpga", "other"; static
    char name[128], driver[128];
    char features[128]; ///< "SPIR-V 1.2, fp16, shares memory"
    char unusable[80];  ///< why our kernels do not run there; empty: they do
    char pci[16];       ///< "0000:03:00.0"; empty: not known
    char uuid[33];      ///< 32 hexadecimal digits
    bool shares_memory; ///< it uses the host's
    int64_t memory_bytes;
    int n_units; ///< execution units
} hsdi_level_zero_info;

/// The Level Zero devices of this machine, of every type; the index of each is its number for
/// opening it.
///
/// Shapes : out [cap]. *n_out is their number, also when it exceeds cap.
/// Errors : HSD_EDEVICE when there is none, with the reason.
HSD_NODISCARD hsd_status hsdi_level_zero_list(hsdi_level_zero_info *out, int cap, int *n_out,
                                              hsd_error *err);

/// Open a device. Owner: *out is owned by the caller. Errors: HSD_EINVAL, HSD_ENOMEM, HSD_EDEVICE.
HSD_NODISCARD hsd_status hsdi_device_open_cpu(const hsdi_cpu_options *options, hsdi_device **out,
                                              hsd_error *err);
HSD_NODISCARD hsd_status hsdi_device_open_null(const hsdi_null_options *options, hsdi_device **out,
                                               hsd_error *err);
/// Device `index` of hsdi_opencl_list; -1: the first that opens, GPUs first, then accelerators.
///
/// Errors : HSD_EDEVICE where there is no OpenCL, with the call and the vendor's code where one
///          fails, with the compiler's log where the kernels do not build; HSD_ENODEVICE for an
///          index too high; HSD_EUNSUPPORTED for a device that is too small; HSD_EINVAL, also for
///          HSD_DEVICE_TIMEOUT_S, HSD_DEVICE_LISTS and others in the environment; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_device_open_opencl(int index, hsdi_device **out, hsd_error *err);
/// Compute units [first, first + n) of device `index` as a device of its own; n 0: all of them.
///
/// Errors : as above; HSD_ENODEVICE for units that are not there; HSD_EUNSUPPORTED for a device
/// that
///          cannot be divided so.
HSD_NODISCARD hsd_status hsdi_device_open_opencl_units(int index, int first, int n,
                                                       hsdi_device **out, hsd_error *err);
/// Device `index` of hsdi_level_zero_list; -1: the first GPU that runs our kernels, else the first
/// device that does.
///
/// Errors : HSD_EDEVICE where there is no Level Zero, with the call and the vendor's code where one
///          fails, with the build log where the kernels do not build; HSD_ENODEVICE for an index
///          too high; HSD_EUNSUPPORTED with the reason for a device that runs no kernels;
///          HSD_EINVAL, also for HSD_DEVICE_TIMEOUT_S, HSD_DEVICE_LISTS and others in the
///          environment; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_device_open_level_zero(int index, hsdi_device **out, hsd_error *err);
/// The device that writes networks (devices/openvino): hsdi_graph_compile writes the graph for
/// exactly n_rows_max rows and n_ctx cells, overwriting the two files; there is nothing to run.
typedef struct hsdi_openvino_options {
    const char *xml_path, *bin_path; ///< borrowed for the call
    hsd_network_type type;
} hsdi_openvino_options;

/// Errors : HSD_EUNSUPPORTED in a build without it; HSD_EINVAL; HSD_ENOMEM. Compiling also gives
///          HSD_EIO with file and errno.
HSD_NODISCARD hsd_status hsdi_device_open_openvino(const hsdi_openvino_options *options,
                                                   hsdi_device **out, hsd_error *err);
/// Inputs and outputs of a graph compiled there, in the order of the XML. Returns their number;
/// *out is borrowed for the graph's life.
int hsdi_openvino_ports(const hsdi_graph *graph, const hsd_network_port **out);

void hsdi_device_close(hsdi_device **device);
const hsdi_device_info *hsdi_device_get_info(const hsdi_device *device);
/// Launches of a kernel: how many, and how long they took by the device's own clock.
typedef struct hsdi_device_time {
    char name[32]; ///< "matmul4_Q4_0"
    int64_t n, ns;
} hsdi_device_time;

/// Time every launch from now on, or no longer; what was found before is forgotten.
///
/// Errors : HSD_EUNSUPPORTED for a device that cannot.
HSD_NODISCARD hsd_status hsdi_device_profile(hsdi_device *device, bool on, hsd_error *err);

/// What profiling has found. Shapes: out [cap]. Returns their number, also when it exceeds cap.
int hsdi_device_times(hsdi_device *device, hsdi_device_time *out, int cap);

/// Submissions accepted so far.
int64_t hsdi_device_n_submitted(const hsdi_device *device);

/// How a weight will be used.
enum {
    HSDI_USE_MATMUL = 1, ///< operand of a product
    HSDI_USE_ROWS = 2,   ///< rows are looked up by number (embedding table)
    HSDI_USE_VECTOR = 4, ///< one row of f32: norm weight, bias; converted if the type is another
    HSDI_USE_HEADS = 16, ///< one operand per head: see hsdi_weight_create_heads
    HSDI_USE_STAYS = 8,  ///< with others: the data stays, so a device may use it where it is
};

/// Give a matrix [n_out, n_in] of `type` (GGUF layout) to a device.
///
/// Owner  : `data` must stay valid and unchanged for the weight's life when HSDI_USE_ROWS or
///          HSDI_USE_STAYS is set, and on the device "openvino"; otherwise it is borrowed for the
///          call.
/// Errors : HSD_EINVAL when n_in is not a multiple of the type's block; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_weight_create(hsdi_device *device, hsdi_type type, int n_out,
                                            int n_in, const void *data, int uses, hsdi_weight **out,
                                            hsd_error *err);
/// Give n_heads matrices [n_out, n_in], which lie one behind the other in `data`, to a device: the
/// operand of HSDI_OP_HEADS. `uses`: HSDI_USE_HEADS, with HSDI_USE_STAYS where the data stays.
///
/// Owner, errors : as hsdi_weight_create.
HSD_NODISCARD hsd_status hsdi_weight_create_heads(hsdi_device *device, hsdi_type type, int n_heads,
                                                  int n_out, int n_in, const void *data, int uses,
                                                  hsdi_weight **out, hsd_error *err);
void hsdi_weight_destroy(hsdi_weight **weight);
size_t hsdi_weight_bytes(const hsdi_weight *weight);
/// Has its device hung? Then it may still read the data that stays, which must never go away.
bool hsdi_weight_is_held(const hsdi_weight *weight);

/// Read every byte of a matrix and do next to nothing with it: what a device's memory can give.
///
/// n_bytes: that were read, to the next 64 of each work-item: of a fast device, which reads it many
///          times, a multiple of the matrix.
/// way    : 0 each thread or work-item reads a piece of its own, 1 they read side by side.
/// Errors : HSD_EUNSUPPORTED for a device that cannot; HSD_EDEVICE; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_weight_read(hsdi_device *device, const hsdi_weight *weight, int way,
                                          size_t *n_bytes, hsd_error *err);

/// Cells of keys and values. `desc` is borrowed for the call.
///
/// Errors : HSD_EINVAL; HSD_EUNSUPPORTED for a type that the device has not; HSD_ENOMEM;
///          HSD_EDEVICE.
HSD_NODISCARD hsd_status hsdi_cache_create(hsdi_device *device, const hsdi_cache_desc *desc,
                                           hsdi_cache **out, hsd_error *err);
void hsdi_cache_destroy(hsdi_cache **cache);
size_t hsdi_cache_bytes(const hsdi_cache *cache);

/// Bytes that a cache would have.
size_t hsdi_cache_desc_bytes(const hsdi_cache_desc *desc);

/// Bytes of one cell over all layers, as hsdi_cache_read gives them.
size_t hsdi_cache_bytes_per_cell(const hsdi_cache *cache);

/// What its cells are, as a text: equal for caches between which cells may travel. Shapes: out
/// [cap], NUL-terminated.
void hsdi_cache_describe(const hsdi_cache *cache, char *out, size_t cap);

/// What cells [first, first + n) hold, as bytes [n, hsdi_cache_bytes_per_cell]. What is inside is
/// the device's affair; a cell's bytes are whole by themselves, and may be written to any cell of a
/// cache with the same layers, width and element type on a device of the same backend.
///
/// Errors : HSD_EINVAL for the range or a cache of another backend; HSD_EUNSUPPORTED for a device
///          that cannot; HSD_ENOMEM; HSD_EDEVICE.
/// Thread : any; waits for the device's turn. No other pass may write these cells meanwhile.
/// Cost   : may allocate: not for the step path.
/// Proof  : tests/devices/test_device.c "cells that were read and written elsewhere give the same
///          bits"
HSD_NODISCARD hsd_status hsdi_cache_read(hsdi_device *device, const hsdi_cache *cache, int first,
                                         int n, void *out, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_cache_write(hsdi_device *device, hsdi_cache *cache, int first, int n,
                                          const void *bytes, hsd_error *err);

/// What cells [first, first + n) hold is not needed any more: their memory may go back to the
/// system, as far as it is whole pages, until they are written again. Out of range: nothing.
///
/// Thread : any; no pass may read or write these cells meanwhile.
void hsdi_cache_discard(hsdi_cache *cache, int first, int n);

HSD_NODISCARD hsd_status hsdi_buffer_create(hsdi_device *device, int n_rows, int width,
                                            hsdi_buffer **out, hsd_error *err);
void hsdi_buffer_destroy(hsdi_buffer **buffer);
/// Host view [n_rows, width], valid between submissions. NULL if the backend has none.
float *hsdi_buffer_map(hsdi_buffer *buffer);

/// Compile a graph. `graph` is borrowed for the call; the weights it names for the graph's life.
///
/// Errors : HSD_EINVAL with the operation; HSD_EUNSUPPORTED for HSDI_OP_TOP and _DRAW where the
/// device
///          has them not; HSD_ENOMEM; HSD_EDEVICE.
HSD_NODISCARD hsd_status hsdi_graph_compile(hsdi_device *device, const hsdi_graph_desc *desc,
                                            hsdi_graph **out, hsd_error *err);
void hsdi_graph_destroy(hsdi_graph **graph);

/// Rows of one cache in a submission. Row fields as in pipelines/stage.h; borrowed until the call
/// returns. Row r of a job is row r of its buffers; what `in` holds afterwards is not specified.
typedef struct hsdi_job {
    int n_rows;
    const int32_t *tokens, *pos, *cell;
    const int32_t *trunk;
    int n_trunk;
    const int32_t *path, *n_path;
    int path_stride;
    int n_threads;          ///< threads to use at most; 0: all of the device's
    hsdi_cache *cache;      ///< for graphs that store or attend
    hsdi_buffer *in, *out;  ///< for graphs with external input or output rows
    const hsdi_draw *draws; ///< [n_rows] for graphs with HSDI_OP_DRAW
} hsdi_job;

/// Run a graph on several jobs in one submission and wait for the end: the weights are read once
/// for the rows of all of them. What a row computes does not depend on the other jobs.
///
/// Shapes : jobs [n_jobs]; their rows together are at most the graph's, their `out` buffers differ.
/// Errors : HSD_EINVAL with the field's name, and the job where there are several, before anything
///          ran; HSD_EDEVICE.
/// Cost   : no allocation. With several jobs, rows of `in` and `out` are copied once.
/// Proof  : tests/devices/test_device.c "several jobs give the bits of each alone"
HSD_NODISCARD hsd_status hsdi_graph_run_all(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs,
                                            hsd_error *err);

/// The same for a single job.
HSD_NODISCARD hsd_status hsdi_graph_run(hsdi_graph *graph, const hsdi_job *job, hsd_error *err);

#endif
