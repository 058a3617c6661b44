/// The Level Zero device: a context, a queue for recorded command lists, immediate lists for
/// transfers, and the module of kernels/opencl as SPIR-V.
#ifndef HSDI_DEVICES_LEVEL_ZERO_CONTEXT_H
#define HSDI_DEVICES_LEVEL_ZERO_CONTEXT_H

#include "devices/launch/driver.h"
#include "devices/level_zero/api.h"

/// An immediate command list, and the event that its last barrier signals.
typedef struct hsdi_ze_mover {
    ze_command_list_handle_t list;
    ze_event_handle_t done;
    bool busy; ///< something was appended that was not waited for
} hsdi_ze_mover;

struct hsdi_ze_record;

typedef struct hsdi_ze_device {
    hsdi_launch_device launch;
    const hsdi_ze_api *api; ///< static
    ze_device_handle_t id;
    uint32_t ordinal; ///< the group of queues that takes kernels
    bool wrapped;     ///< the loader wraps handles: build logs cannot be read
    ze_context_handle_t context;
    ze_module_handle_t module;
    ze_event_pool_handle_t pool; ///< of the movers' events
    ze_command_queue_handle_t queue;
    ze_fence_handle_t fence;
    struct hsdi_ze_record *recording, *running; ///< borrowed; guarded by the device's turn
    hsdi_ze_mover moves;                        ///< rows and tables; guarded by the device's turn
    hsdi_ze_mover loads;                        ///< weights; guarded by load_turn
    pthread_mutex_t load_turn;
    uint64_t tick_ns, tick_mask; ///< of kernel timestamps
    _Atomic unsigned lost;       ///< the code after which nothing is sent any more; 0: none
} hsdi_ze_device;

/// Every device of every driver, in the loader's order. That order gives "level_zero:N" its N.
enum { HSDI_ZE_MAX_DEVICES = 64 };
typedef struct hsdi_ze_found {
    int n, n_drivers;
    ze_driver_handle_t drivers[HSDI_ZE_MAX_DEVICES];
    ze_device_handle_t ids[HSDI_ZE_MAX_DEVICES];
} hsdi_ze_found;

/// Errors: HSD_EDEVICE, also when there is none.
HSD_NODISCARD hsd_status hsdi_ze_find(const hsdi_ze_api *api, hsdi_ze_found *out, hsd_error *err);
void hsdi_ze_describe(const hsdi_ze_api *api, ze_driver_handle_t driver, ze_device_handle_t id,
                      hsdi_level_zero_info *out);

/// Build kernels from SPIR-V. Errors: HSD_EDEVICE with the first words of the build log.
HSD_NODISCARD hsd_status hsdi_ze_build(const hsdi_ze_device *ze, const unsigned char *spirv,
                                       size_t n_bytes, ze_module_handle_t *out, hsd_error *err);

/// As hsdi_ze_check; remembers that the device is lost.
HSD_NODISCARD hsd_status hsdi_ze_done(hsdi_ze_device *ze, const char *call, ze_result_t code,
                                      hsd_error *err);
/// The same for a wait of timeout_ns; remembers that the device has not answered.
HSD_NODISCARD hsd_status hsdi_ze_waited(hsdi_ze_device *ze, const char *call, ze_result_t code,
                                        hsd_error *err);
/// HSD_EDEVICE for a device that was lost or has not answered.
HSD_NODISCARD hsd_status hsdi_ze_alive(const hsdi_ze_device *ze, hsd_error *err);

HSD_NODISCARD hsd_status hsdi_ze_mover_init(hsdi_ze_device *ze, hsdi_ze_mover *mover,
                                            uint32_t index, hsd_error *err);
void hsdi_ze_mover_fini(hsdi_ze_device *ze, hsdi_ze_mover *mover);
HSD_NODISCARD hsd_status hsdi_ze_move(hsdi_ze_device *ze, hsdi_ze_mover *mover, void *to,
                                      const void *from, size_t size_bytes, hsd_error *err);
/// Wait until everything that was moved has arrived.
HSD_NODISCARD hsd_status hsdi_ze_mover_wait(hsdi_ze_device *ze, hsdi_ze_mover *mover,
                                            hsd_error *err);

// Memory and transfers of hsdi_launch_driver (buffer.c).
hsd_status hsdi_ze_memory_create(hsdi_launch_device *device, size_t size_bytes, const void *data,
                                 hsdi_launch_memory **out, hsd_error *err);
hsd_status hsdi_ze_host_create(hsdi_launch_device *device, size_t size_bytes,
                               hsdi_launch_memory **out, void **host, hsd_error *err);
void hsdi_ze_memory_destroy(hsdi_launch_device *device, hsdi_launch_memory *memory);

extern const hsdi_launch_driver hsdi_ze_driver;

#endif
