/// A layer between the OpenCL loader and a real driver that makes chosen calls fail.
///
/// The loader takes it in by OPENCL_LAYERS=/path/libhsd_opencl_faults.so. Without a plan every call
/// goes to the driver. HSD_TEST_CL_FAULT="clBuildProgram abort" or ".. stop" is a plan for the
/// first such call of a program that cannot be told one.
#ifndef TESTS_OPENCL_FAULTS_LAYER_H
#define TESTS_OPENCL_FAULTS_LAYER_H

#include <stdbool.h>

typedef enum hsd_fault_kind {
    HSD_FAULT_CODE = 0,  ///< the call returns a code and does nothing
    HSD_FAULT_LOST = 1,  ///< so do this call and all that come after it, of every kind
    HSD_FAULT_ABORT = 3, ///< the driver ends the process
    HSD_FAULT_STOP = 4,  ///< the call never returns
    HSD_FAULT_HANG = 2,  ///< EnqueueNDRangeKernel: the queue stands still behind it until `release`
} hsd_fault_kind;

typedef struct hsd_fault_plan {
    const char *call; ///< "clCreateBuffer"; NULL: no faults. Static
    int at;           ///< the how manyth such call since the plan was set, from 1
    hsd_fault_kind kind;
    int code; ///< CL_OUT_OF_RESOURCES
} hsd_fault_plan;

/// Exported by the layer. Thread: any.
typedef struct hsd_fault_control {
    void (*set)(const hsd_fault_plan *plan);
    int (*n_calls)(const char *call); ///< since the plan was set
    int (*n_faults)(void);            ///< since the plan was set
    void (*release)(void);            ///< let what hangs go on
    int (*n_mapped)(void);            ///< maps without their unmaps, since the plan was set
    long long (*n_map_bytes)(void);   ///< of all maps, likewise
} hsd_fault_control;

#define HSD_FAULT_SYMBOL "hsd_opencl_fault_control"

#endif
