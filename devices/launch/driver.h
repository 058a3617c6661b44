/// What a driver of kernels (OpenCL, Level Zero) implements, so that devices/launch runs graphs on
/// it.
///
/// The kernels are those of kernels/opencl, whatever the driver. A driver knows memory, kernels
/// with arguments, launches and transfers; graphs, jobs and rows are unknown to it.
#ifndef HSDI_DEVICES_LAUNCH_DRIVER_H
#define HSDI_DEVICES_LAUNCH_DRIVER_H

#include "devices/backend.h"

/// The driver's handles; never defined. A memory as an argument of a kernel is the handle itself.
typedef struct hsdi_launch_memory hsdi_launch_memory;
typedef struct hsdi_launch_kernel hsdi_launch_kernel;
typedef struct hsdi_launch_record hsdi_launch_record;

typedef struct hsdi_launch_driver hsdi_launch_driver;

typedef enum hsdi_launch_owner {
    HSDI_OWNER_DEVICE,
    HSDI_OWNER_HOST,
    HSDI_OWNER_HOST_FILLS, ///< the host, who will write all that it uses and read nothing
} hsdi_launch_owner;

enum { HSDI_LAUNCH_MAX_TIMES = 64 }; ///< more than there are kernels

/// The first member of a driver's device.
typedef struct hsdi_launch_device {
    hsdi_device base;
    const hsdi_launch_driver *driver; ///< static
    bool shares;                      ///< kernels work on what `host_create` gives: no copies
    bool records;  ///< passes are recorded and run again; else launched one by one
    bool profiles; ///< launches are timed; the driver calls hsdi_launch_timed
    /// Work-groups that keep the device busy: where rows and heads are fewer, attention is cut into
    /// chunks of positions. 0: never.
    int split_groups;
    int n_queues;           ///< that there were: what was recorded for one is of no use to others
    _Atomic bool hung;      ///< may still use what it was given, which therefore is never freed
    uint64_t timeout_ns;    ///< longest wait for the device: hsdi_launch_timeout
    _Atomic int64_t n_made; ///< caches and buffers so far: their serial numbers
    /// Copies so far: of rows and tables for passes, and of weights.
    _Atomic int64_t n_row_copies, n_weight_copies;
    hsdi_tile_set tiles;
    int n_times;
    hsdi_device_time times[HSDI_LAUNCH_MAX_TIMES]; ///< guarded by the device's turn
} hsdi_launch_device;

/// The time of HSD_DEVICE_TIMEOUT_S, or ten minutes: long passes on slow devices end before.
HSD_NODISCARD hsd_status hsdi_launch_timeout(uint64_t *ns, hsd_error *err);

/// A switch in the environment, 0 or 1, which decides over what *value was before.
HSD_NODISCARD hsd_status hsdi_launch_switch(const char *name, bool *value, hsd_error *err);

/// Whether short lists should come back instead of logits: not from a processor, which makes them
/// more slowly than the host finds them; HSD_DEVICE_LISTS, 0 or 1, decides otherwise.
HSD_NODISCARD hsd_status hsdi_launch_lists(hsdi_launch_device *device, bool is_cpu, hsd_error *err);

/// Whether attention is cut, by the compute units of the device: not on a processor, whose few
/// units rows and heads keep busy. HSD_DEVICE_SPLIT decides otherwise: 0, never; 1, wherever there
/// are several chunks.
HSD_NODISCARD hsd_status hsdi_launch_split(hsdi_launch_device *device, bool is_cpu, int n_units,
                                           hsd_error *err);

/// A launch of a kernel took so long on the device.
void hsdi_launch_timed(hsdi_launch_device *device, const char *name, int64_t ns);

/// Everything happens in the order of the calls. `destroy` functions take NULL.
struct hsdi_launch_driver {
    /// Device memory of size_bytes, filled from `data` unless it is NULL.
    hsd_status (*memory_create)(hsdi_launch_device *device, size_t size_bytes, const void *data,
                                hsdi_launch_memory **out, hsd_error *err);
    void (*memory_destroy)(hsdi_launch_device *device, hsdi_launch_memory *memory);
    /// Bytes [at, at + size_bytes) of a memory; the host's side is borrowed until `finish`.
    hsd_status (*send)(hsdi_launch_device *device, hsdi_launch_memory *to, size_t at,
                       size_t size_bytes, const void *from, hsd_error *err);
    hsd_status (*fetch)(hsdi_launch_device *device, hsdi_launch_memory *from, size_t at,
                        size_t size_bytes, void *to, hsd_error *err);
    /// A kernel with arguments of its own. `defines` (NULL for all but products): what a compiler
    /// must know to make it.
    hsd_status (*kernel_create)(hsdi_launch_device *device, const char *name, const char *defines,
                                hsdi_launch_kernel **out, hsd_error *err);
    void (*kernel_destroy)(hsdi_launch_device *device, hsdi_launch_kernel *kernel);
    /// Argument `index`, for the launches to come. `value` NULL: local memory of size_bytes.
    hsd_status (*kernel_set)(hsdi_launch_device *device, hsdi_launch_kernel *kernel, unsigned index,
                             size_t size_bytes, const void *value, hsd_error *err);
    /// width (a multiple of `group`) times height work-items, in groups of so many.
    hsd_status (*start)(hsdi_launch_device *device, hsdi_launch_kernel *kernel, size_t width,
                        int height, int group, hsd_error *err);
    /// Wait for all of it, but not for ever: a device that does not answer is `hung`.
    hsd_status (*finish)(hsdi_launch_device *device, hsd_error *err);

    /// Optional: memory that the host sees at *host; `send` and `fetch` reach it quickly.
    hsd_status (*host_create)(hsdi_launch_device *device, size_t size_bytes,
                              hsdi_launch_memory **out, void **host, hsd_error *err);

    /// Optional: host memory changes hands: before launches it is the device's, after them and at
    /// first the host's, which sees its first size_bytes at `host`. Without it both may always use
    /// it. A change to the owner that it has is a mistake.
    hsd_status (*host_own)(hsdi_launch_device *device, hsdi_launch_memory *memory, void *host,
                           size_t size_bytes, hsdi_launch_owner owner, hsd_error *err);
    /// Optional: device memory that is the host's at `data`, read only; valid as long as `data` is.
    /// *out NULL: it cannot be had for such an address.
    hsd_status (*memory_wrap)(hsdi_launch_device *device, size_t size_bytes, const void *data,
                              hsdi_launch_memory **out, hsd_error *err);

    /// Optional, all three, and used where the device `records`: launches between `record` and the
    /// first `replay` are not run but kept, with their arguments. `replay` runs them. `record`
    /// empties a record that is used again
    /// (*record not NULL).
    hsd_status (*record)(hsdi_launch_device *device, hsdi_launch_record **record, hsd_error *err);
    hsd_status (*replay)(hsdi_launch_device *device, hsdi_launch_record *record, hsd_error *err);
    void (*record_destroy)(hsdi_launch_device *device, hsdi_launch_record *record);
};

#endif
