/// A Level Zero driver in software, for tests: objects behind the handles, and one lock for all.
///
/// `lz.lock` guards every field of every object, except what a comment says; `lz.changed` is
/// signalled when a submission, an event, a fence or the state of the device changes. Kernels run
/// in PoCL outside the lock, on the thread of their queue.
#ifndef TESTS_LEVEL_ZERO_DRIVER_H
#define TESTS_LEVEL_ZERO_DRIVER_H

#define CL_TARGET_OPENCL_VERSION 200
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl_icd.h>
#include <level_zero/ze_api.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// What a handle points to. A destroyed object has another kind.
typedef enum lz_kind {
    LZ_DRIVER = 0x5a450001,
    LZ_DEVICE,
    LZ_CONTEXT,
    LZ_QUEUE,
    LZ_LIST,
    LZ_FENCE,
    LZ_POOL,
    LZ_EVENT,
    LZ_MODULE,
    LZ_LOG,
    LZ_KERNEL,
    LZ_KINDS_END,
} lz_kind;

enum { LZ_FIRST_OBJECT = LZ_QUEUE, LZ_TICK_NS = 52, LZ_MAX_GROUP = 1024, LZ_MAX_PARAMS = 64 };

struct _ze_driver_handle_t {
    lz_kind kind;
};

struct _ze_device_handle_t {
    lz_kind kind;
    bool npu;
};

struct _ze_context_handle_t {
    lz_kind kind;
    int n_live[LZ_KINDS_END - LZ_FIRST_OBJECT]; ///< objects made from it and not destroyed
};

struct _ze_event_pool_handle_t {
    lz_kind kind;
    ze_context_handle_t context;
    uint32_t count;
    bool timestamps;
    bool *taken; ///< [count] an event has that index
};

struct _ze_event_handle_t {
    lz_kind kind;
    ze_event_pool_handle_t pool;
    uint32_t index;
    bool signalled;
    uint64_t start, end; ///< ticks of the device
};

/// A parameter of a kernel, from the SPIR-V text of its type.
typedef struct lz_param {
    enum { LZ_VALUE, LZ_POINTER, LZ_LOCAL, LZ_OTHER } what;
    size_t size; ///< bytes of a value
} lz_param;

typedef struct lz_entry {
    char *name;
    uint32_t id;
    uint32_t group[3]; ///< required size, or zeros
    int n_params;
    lz_param params[LZ_MAX_PARAMS];
} lz_entry;

/// The kernels that a SPIR-V module declares.
typedef struct lz_spirv {
    int n_entries;
    lz_entry *entries;
} lz_spirv;

struct _ze_module_handle_t {
    lz_kind kind;
    ze_context_handle_t context;
    ze_device_handle_t device;
    uint8_t *code;
    size_t n_code;
    lz_spirv spirv;
    cl_program program;
    int n_kernels;
};

struct _ze_module_build_log_handle_t {
    lz_kind kind;
    ze_context_handle_t context;
    char *text;
};

typedef struct lz_arg {
    bool set;
    size_t size;           ///< of a value or of local memory
    unsigned char raw[16]; ///< value up to 16 bytes, or the pointer as the caller knows it
    void *large;           ///< value above 16 bytes; owned
} lz_arg;

struct _ze_kernel_handle_t {
    lz_kind kind;
    ze_module_handle_t module;
    const lz_entry *entry;
    cl_kernel kernel; ///< used under lz.cl_lock
    uint32_t group[3];
    lz_arg *args; ///< [entry->n_params]
};

typedef enum lz_op {
    LZ_OP_LAUNCH,
    LZ_OP_COPY,
    LZ_OP_FILL,
    LZ_OP_BARRIER,
    LZ_OP_RESET,
    LZ_OP_TIME,
} lz_op;

/// One command, with everything it needs as it was when it was appended.
typedef struct lz_command {
    lz_op op;
    bool ordered; ///< all before it end first, all after it begin later
    ze_event_handle_t signal, reset;
    ze_event_handle_t *waits;
    uint32_t n_waits;
    ze_kernel_handle_t kernel;
    size_t global[3], local[3];
    lz_arg *args;
    void *to;
    const void *from;
    size_t n_bytes, n_pattern;
    unsigned char *pattern;
} lz_command;

struct _ze_command_list_handle_t {
    lz_kind kind;
    ze_context_handle_t context;
    ze_device_handle_t device;
    uint32_t ordinal;
    ze_command_queue_handle_t own; ///< of an immediate list
    bool closed;
    int n_running; ///< submissions that read its commands
    lz_command *commands;
    int n_commands, cap;
};

typedef struct lz_submission {
    struct lz_submission *next;
    ze_command_list_handle_t list; ///< its commands, or NULL: the one below
    lz_command *one;               ///< owned
    ze_fence_handle_t fence;       ///< of the last list of a submission
    int number;                    ///< counted from 1 since the context was created
} lz_submission;

struct _ze_command_queue_handle_t {
    lz_kind kind;
    ze_context_handle_t context;
    ze_device_handle_t device;
    uint32_t ordinal;
    bool waits; ///< synchronous mode: a submission returns when it has ended
    bool stop;
    int n_pending;
    lz_submission *first, **last;
    pthread_t thread;
    cl_command_queue commands; ///< used by its thread alone
};

struct _ze_fence_handle_t {
    lz_kind kind;
    ze_command_queue_handle_t queue;
    bool signalled, used;
};

/// A piece of memory. Device memory has two addresses: the one that the caller gets, which faults
/// when the host touches it, and the one where the bytes are.
typedef struct lz_memory {
    char *base, *real;
    size_t size;
    ze_memory_type_t type;
    ze_context_handle_t context;
    ze_device_handle_t device;
    uint64_t id;
    void *map, *real_map; ///< with a page after the end that faults
    size_t map_size;
} lz_memory;

/// Faults to inject, read from the environment when a context is created. 0: none.
typedef struct lz_faults {
    int oom_at, lost_submit_at, lost_run_at, slow_at, slow_ms, hang_at, shuffle;
    bool fail_build;
    uint64_t memory_bytes;
} lz_faults;

typedef struct lz_state {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_mutex_t cl_lock; ///< kernel objects; never taken under `lock`, nor the other way
    int n_contexts;
    bool lost;
    lz_faults faults;
    int n_allocations, n_submissions, n_launches;
    uint64_t n_ids, used_bytes;
    lz_memory *memories; ///< by address
    int n_memories, cap_memories;
    const cl_icd_dispatch *cl; ///< PoCL's functions; static, like these two once they are there
    cl_context context;
    cl_device_id device;
} lz_state;

extern lz_state lz;
extern struct _ze_driver_handle_t lz_driver;
extern struct _ze_device_handle_t lz_devices[2];

#define LZ_HANDLE(h, k)                                                                            \
    do {                                                                                           \
        if (!(h)) {                                                                                \
            return ZE_RESULT_ERROR_INVALID_NULL_HANDLE;                                            \
        }                                                                                          \
        if ((h)->kind != (k)) {                                                                    \
            return ZE_RESULT_ERROR_INVALID_ARGUMENT;                                               \
        }                                                                                          \
    } while (0)

#define LZ_POINTER_ARG(p)                                                                          \
    do {                                                                                           \
        if (!(p)) {                                                                                \
            return ZE_RESULT_ERROR_INVALID_NULL_POINTER;                                           \
        }                                                                                          \
    } while (0)

/// Print one line on standard error.
void lz_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t lz_now_ns(void);
uint64_t lz_ticks(void);

/// Wait for lz.changed under lz.lock, until `timeout_ns` after `begin_ns` at most; false: too late.
bool lz_wait(uint64_t begin_ns, uint64_t timeout_ns);

/// Count an object of the context. Under no lock.
void lz_born(ze_context_handle_t context, lz_kind kind);
void lz_died(ze_context_handle_t context, lz_kind kind);

/// The faults of the environment; counters begin anew. Under lz.lock.
void lz_read_faults(void);
bool lz_is_lost(void);
void lz_lose(const char *why); ///< under lz.lock

/// PoCL's first device, once per process.
ze_result_t lz_opencl(void);

/// The live memory around a pointer, or NULL. Under lz.lock.
const lz_memory *lz_find(const void *p);
/// Where the bytes are: translates a pointer of a caller. NULL: the range leaves its memory.
/// `host`: pointers outside all memory are the host's own and stay. Under lz.lock.
void *lz_real(const void *p, size_t n_bytes, bool host);
int lz_free_all(ze_context_handle_t context, size_t *n_bytes); ///< returns how many there were

/// Kernels and their parameters; false: not a module that can be read. Owned.
bool lz_spirv_read(lz_spirv *out, const uint8_t *code, size_t n_bytes);
void lz_spirv_free(lz_spirv *spirv);
/// LLVM bitcode from SPIR-V by llvm-spirv. On failure NULL and what it printed, owned.
unsigned char *lz_translate(const uint8_t *code, size_t n_code, size_t *n_bitcode, char **log);

void lz_command_free(lz_command *command);
/// Take closed lists, or one command (owned, also on failure), to a queue, as one submission.
ze_result_t lz_submit(ze_command_queue_handle_t queue, ze_command_list_handle_t *lists,
                      uint32_t n_lists, lz_command *one, ze_fence_handle_t fence);
ze_result_t lz_queue_create(ze_context_handle_t context, ze_device_handle_t device,
                            const ze_command_queue_desc_t *desc, ze_command_queue_handle_t *out);
void lz_queue_destroy(ze_command_queue_handle_t queue);
/// Run commands in order, or shuffled between barriers. False: lost, or the queue is destroyed.
/// On the queue's thread, under no lock.
bool lz_run(ze_command_queue_handle_t queue, const lz_command *commands, int n, unsigned seed);

#endif
