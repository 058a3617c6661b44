/// A machine: hosts, the devices on them, how far apart they are, and what may be chosen.
///
/// Plain data, whether it was discovered here (discover.h), read from a description (describe.h)
/// or made by a test. Times are nanoseconds, rates 1e9 per second. Numbers that nobody knows are 0.
/// Devices, hosts and workers refer to each other by index; the order means nothing.
#ifndef HSDI_TOPOLOGY_MACHINE_H
#define HSDI_TOPOLOGY_MACHINE_H

#include <hsd/engine.h>
#include <hsd/status.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    HSDI_MACHINE_NAME = 64,
    HSDI_MACHINE_ID = 256, ///< lists of processors may be long
    HSDI_MACHINE_HOSTS = 64,
    HSDI_MACHINE_DEVICES = 128,
    HSDI_MACHINE_LINKS = 1024,
    HSDI_MACHINE_WORKERS = 64,
    HSDI_MACHINE_CACHES = 8,
    HSDI_MACHINE_NUMA = 32,
    HSDI_MACHINE_PORTS = 24,
};

typedef enum hsdi_device_type {
    HSDI_DEVICE_CPU,
    HSDI_DEVICE_GPU,
    HSDI_DEVICE_NPU, ///< runs whole networks; drafts only where a worker serves it
    HSDI_DEVICE_ACCELERATOR,
    HSDI_DEVICE_OTHER,
} hsdi_device_type;

/// Caches of one level, all alike.
typedef struct hsdi_machine_cache {
    int level;          ///< 1: of data
    int n;              ///< how many there are
    int n_cores;        ///< physical cores that share one; 0: not known
    int64_t size_bytes; ///< of one
} hsdi_machine_cache;

typedef struct hsdi_machine_numa {
    int64_t memory_bytes;
    char cpus[HSDI_MACHINE_ID]; ///< processors by OS index: "0-15,32"; empty: none
} hsdi_machine_numa;

typedef enum hsdi_port_type { HSDI_PORT_NETWORK, HSDI_PORT_STORAGE } hsdi_port_type;

/// What an operating system has a name for and models do not run on: a network interface, a disk.
typedef struct hsdi_machine_port {
    char name[32]; ///< unique on its host: "eth0"
    hsdi_port_type type;
    char pci[16];
    int i_numa;  ///< -1: none in particular
    double gbps; ///< what it is made for; 0: not known
} hsdi_machine_port;

typedef struct hsdi_machine_host {
    char name[HSDI_MACHINE_NAME];    ///< unique among hosts and devices
    bool is_here;                    ///< this program runs there
    int n_packages, n_cores, n_cpus; ///< sockets, physical cores, processors (hardware threads)
    int n_numa;                      ///< NUMA nodes, at least 1
    int n_caches, n_ports;
    int64_t memory_bytes;
    int64_t memory_limit_bytes;                     ///< what hsd may use of it; 0: all
    hsdi_machine_cache caches[HSDI_MACHINE_CACHES]; ///< from level 1 on
    hsdi_machine_numa numa[HSDI_MACHINE_NUMA];      ///< the first n_numa, where they are described
    hsdi_machine_port ports[HSDI_MACHINE_PORTS];
} hsdi_machine_host;

typedef struct hsdi_machine_device {
    char name[HSDI_MACHINE_NAME]; ///< unique: "gpu0"
    char id[HSDI_MACHINE_ID];     ///< what an engine on its host calls it: "cpu:0-3", "opencl:1";
                                  ///< empty: hsd cannot open it
    hsdi_device_type type;
    int i_host;
    int i_numa;    ///< NUMA node of its host; -1: none in particular
    int i_same_as; ///< the same hardware under another driver, a lower index; -1: none
    int n_units;   ///< cores, compute units
    char model[128], driver[128], pci[16], uuid[33], unusable[80]; ///< as in hsd_device_info
    int64_t memory_bytes;       ///< its own; 0 where it uses the host's
    int64_t memory_limit_bytes; ///< what hsd may use of it; 0: all
    double read_gbps, f32_gops, f16_gops, int8_gops;
    double launch_ns;      ///< submission of a graph
    double idle_w, busy_w; ///< power
    bool is_forbidden;
} hsdi_machine_device;

/// One end of a link.
typedef struct hsdi_machine_end {
    bool is_host;
    int index; ///< of the host or device
} hsdi_machine_end;

/// What lies between two ends, both ways alike: a bus, a network, a transport of messages. A
/// message of n bytes takes latency_ns + n / gbps.
typedef struct hsdi_machine_link {
    hsdi_machine_end from, to; ///< equal hosts: between processes of that host
    double latency_ns, gbps;
} hsdi_machine_link;

/// A draft worker that somebody starts: `hsd worker`.
typedef struct hsdi_machine_worker {
    char name[HSDI_MACHINE_NAME];
    char endpoint[128];                ///< "ipc:///tmp/hsd.sock", "tcp://10.0.0.2:5555"
    char listen[128];                  ///< what it binds, where that differs; empty: the endpoint
    char key_file[256], pub_file[256]; ///< its CURVE keys; empty: none
    int i_device;
    int i_draft_kind; ///< hsd_draft_kind: MODEL or NGRAM
} hsdi_machine_worker;

/// What somebody has decided already. Negative numbers and empty names: free.
typedef struct hsdi_machine_choices {
    hsd_mode mode;                   ///< HSD_MODE_AUTO: free
    unsigned forbidden_modes;        ///< bit 1 << hsd_mode
    int i_target, i_suffix, i_draft; ///< devices
    int n_target_threads, n_draft_threads;
    int exit_layer, split_layer, window, tree, roots, n_workers;
    double power_w;             ///< most power while generating; 0: no limit
    int64_t cache_memory_bytes; ///< most memory for caches of all sessions; 0: no limit
    char client_key_file[256];  ///< our own keys for workers elsewhere; empty: none
} hsdi_machine_choices;

typedef struct hsdi_machine {
    char name[HSDI_MACHINE_NAME];
    uint64_t fingerprint; ///< of the hardware and drivers, equal on the next start; 0: not known
    int n_hosts, n_devices, n_links, n_workers;
    hsdi_machine_host hosts[HSDI_MACHINE_HOSTS];
    hsdi_machine_device devices[HSDI_MACHINE_DEVICES];
    hsdi_machine_link links[HSDI_MACHINE_LINKS];
    hsdi_machine_worker workers[HSDI_MACHINE_WORKERS];
    hsdi_machine_choices choices;
} hsdi_machine;

/// An empty machine with every choice free.
void hsdi_machine_init(hsdi_machine *machine);
/// Every choice free.
void hsdi_machine_choices_init(hsdi_machine_choices *choices);

/// Index by name; -1: none.
int hsdi_machine_find_host(const hsdi_machine *machine, const char *name);
int hsdi_machine_find_device(const hsdi_machine *machine, const char *name);

/// Indices in range; names unique and of letters, digits, `.`, `_`, `-`; texts in UTF-8; no number
/// negative or not finite; no link twice, from a device to itself or to a host that is not its own.
///
/// Errors : HSD_EINVAL with the element and the field.
HSD_NODISCARD hsd_status hsdi_machine_check(const hsdi_machine *machine, hsd_error *err);

/// May the text be in a machine: UTF-8 without control characters? And a driver's text made one, by
/// question marks.
bool hsdi_machine_is_text(const char *text);
void hsdi_machine_make_text(char *text);

/// Do two devices compute on the same hardware (the same processors, the same chip)? A device does
/// with itself.
bool hsdi_machine_shares_units(const hsdi_machine *machine, int i_device, int i_other);

/// The link between two ends, in either direction; NULL: none is described.
const hsdi_machine_link *hsdi_machine_find_link(const hsdi_machine *machine, hsdi_machine_end from,
                                                hsdi_machine_end to);

/// Latency and rate of a message between two devices: of the link between them, else the sum and
/// the least along the way device - host - host - device, by the links that are described, else by
/// defaults that machine.c names with their source. A device has none to itself.
typedef struct hsdi_distance {
    double latency_ns, gbps;
    bool is_assumed; ///< a part of it is a default
} hsdi_distance;

hsdi_distance hsdi_machine_distance(const hsdi_machine *machine, int i_from, int i_to);

/// The same to a worker: on the same host that is another process.
hsdi_distance hsdi_machine_worker_distance(const hsdi_machine *machine, int i_from, int i_worker);

#endif
