// How a kernel's test runs on a GPU: by the driver, from PTX, on memory that host and device share.
#pragma once
#include <dirent.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace runner {

constexpr bool IS_DEVICE = true;
constexpr bool IS_EXACT = true;

constexpr int UNUSABLE = 2;

[[noreturn]] inline void give_up(const std::string& why) {
  printf("%s\n", why.c_str());
  exit(UNUSABLE);
}

// The driver's functions, by their names in its library.
class Driver {
 public:
  Driver() {
    library_ = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library_) give_up(std::string("no CUDA driver: ") + dlerror());
    call("cuInit", 0u);
    int device = 0;
    call("cuDeviceGet", &device, 0);
    void* context = nullptr;
    call("cuDevicePrimaryCtxRetain", &context, device);
    call("cuCtxSetCurrent", context);
  }

  // Calls a function; what it answers but success ends the test.
  template <class... A>
  void call(const char* name, A... arguments) {
    int result = try_to_call(name, arguments...);
    if (result) give_up(std::string(name) + ": " + text_of(result));
  }

  template <class... A>
  int try_to_call(const char* name, A... arguments) {
    void*& found = functions_[name];
    if (!found) found = dlsym(library_, name);
    if (!found) give_up(std::string("the CUDA driver has no ") + name);
    return reinterpret_cast<int (*)(A...)>(found)(arguments...);
  }

  std::string text_of(int result) {
    const char* name = nullptr;
    const char* text = nullptr;
    try_to_call("cuGetErrorName", result, &name);
    try_to_call("cuGetErrorString", result, &text);
    std::string all = name ? name : "error " + std::to_string(result);
    return text ? all + " (" + text + ")" : all;
  }

 private:
  void* library_;
  std::map<std::string, void*> functions_;
};

inline Driver& driver() {
  static Driver* one = new Driver;
  return *one;
}

// A file of PTX, loaded when the first of its kernels is wanted.
struct Module {
  std::string path;
  std::string ptx;
  void* handle = nullptr;
};

inline std::vector<Module> modules;

// Names the folder that the PTX lies in.
inline void open(const std::string& folder) {
  DIR* listing = opendir(folder.c_str());
  if (!listing) give_up("no folder of PTX files: '" + folder + "' (--ptx DIR)");
  std::vector<std::string> names;
  while (dirent* entry = readdir(listing)) names.push_back(entry->d_name);
  closedir(listing);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (name.size() < 4 || name.substr(name.size() - 4) != ".ptx") continue;
    std::ifstream file(folder + "/" + name, std::ios::binary);
    std::string ptx((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    modules.push_back({folder + "/" + name, ptx});
  }
  if (modules.empty()) give_up("no PTX file in " + folder);
}

inline void load(Module& module) {
  constexpr int ERROR_LOG = 5;
  constexpr int ERROR_LOG_BYTES = 6;
  char log[4096] = "";
  int options[] = {ERROR_LOG, ERROR_LOG_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  int result = driver().try_to_call(
      "cuModuleLoadDataEx", &module.handle, static_cast<const void*>(module.ptx.c_str()), 2u,
      static_cast<int*>(options), static_cast<void**>(values));
  if (result) {
    give_up("cuModuleLoadDataEx of " + module.path + ": " + driver().text_of(result) + " " + log);
  }
}

// The kernel, or null where no file has it.
inline void* find(const std::string& name) {
  static std::map<std::string, void*> found;
  auto known = found.find(name);
  if (known != found.end()) return known->second;
  void* function = nullptr;
  for (Module& module : modules) {
    if (module.ptx.find(".entry " + name + "(") == std::string::npos) continue;
    if (!module.handle) load(module);
    driver().call("cuModuleGetFunction", &function, module.handle, name.c_str());
    break;
  }
  return found[name] = function;
}

inline void* take(size_t bytes) {
  constexpr unsigned GLOBAL = 1;
  uint64_t address = 0;
  driver().call("cuMemAllocManaged", &address, std::max(bytes, size_t(1)), GLOBAL);
  return reinterpret_cast<void*>(address);
}

inline void give_back(void* bytes) {
  driver().call("cuMemFree_v2", uint64_t(reinterpret_cast<uintptr_t>(bytes)));
}

inline bool has(const std::string& name) {
  return find(name) != nullptr;
}

inline void run(
    const std::string& name, const unsigned (&grid)[3], unsigned threads, size_t shared,
    void** arguments) {
  constexpr int DYNAMIC_SHARED_BYTES = 8;
  void* function = find(name);
  if (shared > 48 << 10) {
    driver().call("cuFuncSetAttribute", function, DYNAMIC_SHARED_BYTES, int(shared));
  }
  void* stream = nullptr;
  void** extra = nullptr;
  int result = driver().try_to_call(
      "cuLaunchKernel", function, grid[0], grid[1], grid[2], threads, 1u, 1u, unsigned(shared),
      stream, arguments, extra);
  if (result) give_up("cuLaunchKernel of " + name + ": " + driver().text_of(result));
  result = driver().try_to_call("cuCtxSynchronize");
  if (result) give_up("cuCtxSynchronize after " + name + ": " + driver().text_of(result));
}

}  // namespace runner
