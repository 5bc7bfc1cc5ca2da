/* A driver with known answers, for tests: what of NVML this program asks for. Source: NVML API reference. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GIB (1ULL << 30)
enum { SUCCESS = 0, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process;

static int devices[2] = {0, 1};

int nvmlInitWithFlags(unsigned flags) { return SUCCESS; }
int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return "an error of the test's driver"; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = &devices[index]; return SUCCESS; }

static int number(void *handle) { return *(int *)handle; }

int nvmlDeviceGetName(void *handle, char *name, unsigned length) {
    snprintf(name, length, "%s", number(handle) ? "NVIDIA T4" : "NVIDIA H100 80GB HBM3");
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-%s", number(handle) ? "bbbb" : "aaaa");
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *handle, memory_v1 *memory) {
    memory->total = number(handle) ? 16 * GIB : 80 * GIB;
    memory->used = number(handle) ? 1 * GIB : 18 * GIB;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2 *memory) {
    memory->total = number(handle) ? 16 * GIB : 80 * GIB;
    memory->reserved = GIB / 2;
    memory->used = (number(handle) ? 1 * GIB : 18 * GIB) - memory->reserved;
    memory->free = memory->total - memory->used - memory->reserved;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *n, process *found) {
    unsigned given = *n;
    *n = number(handle) ? 0 : 2;
    if (given < *n) return INSUFFICIENT_SIZE;
    if (*n) {
        found[0] = (process){getpid(), 13 * GIB, ~0u, ~0u};
        found[1] = (process){1, 4 * GIB, ~0u, ~0u};
    }
    return SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *n, process *found) { *n = 0; return SUCCESS; }

int nvmlSystemGetProcessName(unsigned pid, char *name, unsigned length) {
    if (pid != 1) return NOT_FOUND;
    snprintf(name, length, "/opt/other/train.py --big");
    return SUCCESS;
}
