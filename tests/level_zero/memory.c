/// Memory: USM of the host, shared, and of the device.
#include "driver.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/// Where an address is, or would be, in the sorted list. Under lz.lock.
static int place(const char *p)
{
    int low = 0, high = lz.n_memories;
    while (low < high) {
        int mid = (low + high) / 2;
        if (lz.memories[mid].base <= p) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low; // the first that begins after p
}

const lz_memory *lz_find(const void *p)
{
    int i = place(p) - 1;
    return i >= 0 && (const char *)p < lz.memories[i].base + lz.memories[i].size ? &lz.memories[i]
                                                                                 : NULL;
}

void *lz_real(const void *p, size_t n_bytes, bool host)
{
    const lz_memory *m = lz_find(p);
    if (!m) {
        return host ? (void *)(uintptr_t)p : NULL;
    }
    size_t at = (size_t)((const char *)p - m->base);
    return n_bytes <= m->size - at ? m->real + at : NULL;
}

static bool insert(const lz_memory *m)
{
    if (lz.n_memories == lz.cap_memories) {
        int cap = lz.cap_memories ? 2 * lz.cap_memories : 64;
        lz_memory *more = realloc(lz.memories, (size_t)cap * sizeof *more);
        if (!more) {
            return false;
        }
        lz.memories = more;
        lz.cap_memories = cap;
    }
    int i = place(m->base);
    memmove(&lz.memories[i + 1], &lz.memories[i],
            (size_t)(lz.n_memories - i) * sizeof *lz.memories);
    lz.memories[i] = *m;
    lz.n_memories++;
    lz.used_bytes += m->size;
    return true;
}

/// Pages, and one more that faults. The memory ends where that one begins, as far as its alignment
/// lets it, so that what reads or writes past the end is seen.
static char *map_pages(size_t size, size_t alignment, size_t map_size, int access, void **map)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    *map = mmap(NULL, map_size, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (*map == MAP_FAILED) {
        return NULL;
    }
    char *end = (char *)*map + map_size - page;
    if (mprotect(end, page, PROT_NONE) != 0) {
        munmap(*map, map_size);
        return NULL;
    }
    return (char *)((uintptr_t)(end - size) & ~(uintptr_t)(alignment - 1));
}

static bool map_memory(lz_memory *m, size_t alignment)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    m->map_size = ((m->size + alignment + page - 1) / page + 1) * page;
    m->real = map_pages(m->size, alignment, m->map_size, PROT_READ | PROT_WRITE, &m->real_map);
    if (!m->real) {
        return false;
    }
    m->map = m->real_map;
    m->base = m->real;
    if (m->type == ZE_MEMORY_TYPE_DEVICE) {
        m->base = map_pages(m->size, alignment, m->map_size, PROT_NONE, &m->map);
        if (!m->base) {
            munmap(m->real_map, m->map_size);
            return false;
        }
    }
    return true;
}

static void unmap_memory(const lz_memory *m)
{
    munmap(m->real_map, m->map_size);
    if (m->map != m->real_map) {
        munmap(m->map, m->map_size);
    }
}

static ze_result_t allocate(ze_context_handle_t context, ze_device_handle_t device,
                            ze_memory_type_t type, size_t size, size_t alignment, void **out)
{
    const ze_result_t full = type == ZE_MEMORY_TYPE_HOST ? ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY
                                                         : ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY;
    LZ_HANDLE(context, LZ_CONTEXT);
    LZ_POINTER_ARG(out);
    if (alignment & (alignment - 1)) {
        return ZE_RESULT_ERROR_UNSUPPORTED_ALIGNMENT;
    }
    alignment = alignment > 64 ? alignment : 64;
    if (size == 0) {
        return ZE_RESULT_ERROR_UNSUPPORTED_SIZE;
    }
    lz_memory m = {.size = size, .type = type, .context = context, .device = device};
    ze_result_t result = ZE_RESULT_SUCCESS;
    pthread_mutex_lock(&lz.lock);
    lz.n_allocations++;
    if (lz.lost) {
        result = ZE_RESULT_ERROR_DEVICE_LOST;
    } else if (size > lz.faults.memory_bytes) {
        result = ZE_RESULT_ERROR_UNSUPPORTED_SIZE;
    } else if (lz.n_allocations == lz.faults.oom_at ||
               lz.used_bytes + size > lz.faults.memory_bytes || !map_memory(&m, alignment)) {
        result = full;
    } else {
        m.id = ++lz.n_ids;
        if (!insert(&m)) {
            unmap_memory(&m);
            result = ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
        }
    }
    pthread_mutex_unlock(&lz.lock);
    *out = result == ZE_RESULT_SUCCESS ? m.base : NULL;
    return result;
}

ze_result_t ZE_APICALL zeMemAllocDevice(ze_context_handle_t context,
                                        const ze_device_mem_alloc_desc_t *desc, size_t size,
                                        size_t alignment, ze_device_handle_t device, void **out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(desc);
    return desc->ordinal != 0
               ? ZE_RESULT_ERROR_INVALID_ARGUMENT
               : allocate(context, device, ZE_MEMORY_TYPE_DEVICE, size, alignment, out);
}

ze_result_t ZE_APICALL zeMemAllocHost(ze_context_handle_t context,
                                      const ze_host_mem_alloc_desc_t *desc, size_t size,
                                      size_t alignment, void **out)
{
    LZ_POINTER_ARG(desc);
    return allocate(context, NULL, ZE_MEMORY_TYPE_HOST, size, alignment, out);
}

ze_result_t ZE_APICALL zeMemAllocShared(ze_context_handle_t context,
                                        const ze_device_mem_alloc_desc_t *desc,
                                        const ze_host_mem_alloc_desc_t *host, size_t size,
                                        size_t alignment, ze_device_handle_t device, void **out)
{
    LZ_POINTER_ARG(desc);
    LZ_POINTER_ARG(host);
    if (device) {
        LZ_HANDLE(device, LZ_DEVICE);
    }
    return desc->ordinal != 0
               ? ZE_RESULT_ERROR_INVALID_ARGUMENT
               : allocate(context, device, ZE_MEMORY_TYPE_SHARED, size, alignment, out);
}

static void remove_at(int i)
{
    unmap_memory(&lz.memories[i]);
    lz.used_bytes -= lz.memories[i].size;
    lz.n_memories--;
    memmove(&lz.memories[i], &lz.memories[i + 1],
            (size_t)(lz.n_memories - i) * sizeof *lz.memories);
}

ze_result_t ZE_APICALL zeMemFree(ze_context_handle_t context, void *ptr)
{
    LZ_HANDLE(context, LZ_CONTEXT);
    LZ_POINTER_ARG(ptr);
    ze_result_t result = ZE_RESULT_ERROR_INVALID_ARGUMENT;
    pthread_mutex_lock(&lz.lock);
    const lz_memory *m = lz_find(ptr);
    if (m && m->base == ptr && m->context == context) {
        remove_at((int)(m - lz.memories));
        result = ZE_RESULT_SUCCESS;
    }
    pthread_mutex_unlock(&lz.lock);
    return result;
}

int lz_free_all(ze_context_handle_t context, size_t *n_bytes)
{
    int n = 0;
    *n_bytes = 0;
    for (int i = lz.n_memories - 1; i >= 0; i--) {
        if (lz.memories[i].context == context) {
            *n_bytes += lz.memories[i].size;
            n++;
            remove_at(i);
        }
    }
    return n;
}

ze_result_t ZE_APICALL zeMemGetAllocProperties(ze_context_handle_t context, const void *ptr,
                                               ze_memory_allocation_properties_t *out,
                                               ze_device_handle_t *device)
{
    LZ_HANDLE(context, LZ_CONTEXT);
    LZ_POINTER_ARG(ptr);
    LZ_POINTER_ARG(out);
    pthread_mutex_lock(&lz.lock);
    const lz_memory *m = lz_find(ptr);
    out->type = m ? m->type : ZE_MEMORY_TYPE_UNKNOWN; // not an error: the host's own memory
    out->id = m ? m->id : 0;
    out->pageSize = m ? (uint64_t)sysconf(_SC_PAGESIZE) : 0;
    if (device) {
        *device = m ? m->device : NULL;
    }
    pthread_mutex_unlock(&lz.lock);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeMemGetAddressRange(ze_context_handle_t context, const void *ptr,
                                            void **base, size_t *size)
{
    LZ_HANDLE(context, LZ_CONTEXT);
    LZ_POINTER_ARG(ptr);
    pthread_mutex_lock(&lz.lock);
    const lz_memory *m = lz_find(ptr);
    if (m && base) {
        *base = m->base;
    }
    if (m && size) {
        *size = m->size;
    }
    pthread_mutex_unlock(&lz.lock);
    return m ? ZE_RESULT_SUCCESS : ZE_RESULT_ERROR_UNKNOWN;
}

/// Everything is resident; the range is checked.
ze_result_t ZE_APICALL zeContextMakeMemoryResident(ze_context_handle_t context,
                                                   ze_device_handle_t device, void *ptr,
                                                   size_t size)
{
    LZ_HANDLE(context, LZ_CONTEXT);
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(ptr);
    pthread_mutex_lock(&lz.lock);
    bool inside = lz_real(ptr, size, false) != NULL;
    pthread_mutex_unlock(&lz.lock);
    return inside ? ZE_RESULT_SUCCESS : ZE_RESULT_ERROR_INVALID_ARGUMENT;
}

ze_result_t ZE_APICALL zeContextEvictMemory(ze_context_handle_t context, ze_device_handle_t device,
                                            void *ptr, size_t size)
{
    return zeContextMakeMemoryResident(context, device, ptr, size);
}
