// Receives depth frames of sweepdepth in C++17, checks them, and prints a line for each.
//
//   g++ -std=c++17 -O2 subscriber.cpp -pthread -o subscriber -lzmq -lzstd
//   (Debian: libzmq3-dev nlohmann-json3-dev libzstd-dev)
//   ./subscriber tcp://127.0.0.1:5560
//   ./subscriber tcp://camera:5560 --keys me.key_secret --server-key camera.key
//
// --frames N stops after N depth frames; --save FOLDER writes each as NumPy files, depth_K.npy and std_K.npy.
// --newest MS looks at the newest frame only, and works on each for MS milliseconds.
#include <zmq.h>
#include <zstd.h>

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using json = nlohmann::json;

constexpr const char *SCHEMA = "sweepdepth/1";
constexpr const char *PLAIN = "<f4", *COMPRESSED = "<f4/diff/zigzag/shuffle/zstd";
constexpr std::size_t MAX_HEADER_BYTES = 65'536, MAX_PARTS = 10;
constexpr std::int64_t MAX_LENGTH = 16'384;
constexpr std::uint64_t MAX_ARRAY_BYTES = 128 << 20;

struct Options {
  std::string address = "tcp://127.0.0.1:5560", keys, server_key, folder;
  long frames = std::numeric_limits<long>::max();
  long newest = -1;  // milliseconds of work on each frame; -1: every frame is wanted
};

struct Array {
  std::vector<std::int64_t> shape;
  std::vector<float> values;  // C order; NaN where unknown
};

struct Message {
  std::string topic;
  json header;
  std::map<std::string, Array> arrays;
};

[[noreturn]] void fail(const std::string &what) { throw std::runtime_error(what); }

// What a stranger sent may hold what would confuse a terminal.
std::string printable(std::string text) {
  for (char &letter : text) {
    if (letter < ' ' || letter > '~') letter = '?';
  }
  return text;
}

void check(int result, const std::string &what) {
  if (result < 0) fail(what + ": " + zmq_strerror(zmq_errno()));
}

// The key files hold lines such as `public-key = "…"`, with 40 characters in the quotes.
std::string key(const std::string &file, const std::string &name) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find(name + " = \"");
    if (at != std::string::npos) return line.substr(at + name.size() + 4, 40);
  }
  fail(file + ": holds no " + name);
}

void set_text(void *socket, int option, const std::string &value, const char *what) {
  check(zmq_setsockopt(socket, option, value.data(), value.size()), what);
}

struct Closing {
  void operator()(void *socket) const { zmq_close(socket); }
};
using Socket = std::unique_ptr<void, Closing>;

Socket connect(void *context, const Options &options) {
  Socket socket(zmq_socket(context, ZMQ_SUB));
  const int high_water_mark = 8, linger = 0;
  const std::int64_t max_message_bytes = MAX_ARRAY_BYTES;
  check(zmq_setsockopt(socket.get(), ZMQ_RCVHWM, &high_water_mark, sizeof high_water_mark), "high-water mark");
  check(zmq_setsockopt(socket.get(), ZMQ_LINGER, &linger, sizeof linger), "linger");
  check(zmq_setsockopt(socket.get(), ZMQ_MAXMSGSIZE, &max_message_bytes, sizeof max_message_bytes), "message size");
  if (!options.keys.empty()) {
    set_text(socket.get(), ZMQ_CURVE_SERVERKEY, key(options.server_key, "public-key"), "server key");
    set_text(socket.get(), ZMQ_CURVE_PUBLICKEY, key(options.keys, "public-key"), "public key");
    set_text(socket.get(), ZMQ_CURVE_SECRETKEY, key(options.keys, "secret-key"), "secret key");
  }
  for (const char *topic : {"depth", "status"}) set_text(socket.get(), ZMQ_SUBSCRIBE, topic, "subscription");
  check(zmq_connect(socket.get(), options.address.c_str()), options.address);
  return socket;
}

// All parts of one message; of one with too many only so many that it is refused.
std::vector<std::string> receive(void *socket) {
  std::vector<std::string> parts;
  for (bool more = true; more;) {
    zmq_msg_t part;
    zmq_msg_init(&part);
    check(zmq_msg_recv(&part, socket, 0), "receiving");
    if (parts.size() <= MAX_PARTS) {
      parts.emplace_back(static_cast<const char *>(zmq_msg_data(&part)), zmq_msg_size(&part));
    }
    more = zmq_msg_more(&part);
    zmq_msg_close(&part);
  }
  return parts;
}

// The newest message of each topic: what comes while the one before is worked on takes its place.
class Newest {
 public:
  void put(std::vector<std::string> parts) {
    const std::string topic = parts[0] == "depth" || parts[0] == "status" ? parts[0] : "";
    const std::lock_guard<std::mutex> lock(mutex_);
    messages_[topic] = std::move(parts);
    news_.notify_one();
  }

  void fail(std::exception_ptr failure) {
    const std::lock_guard<std::mutex> lock(mutex_);
    failure_ = failure;
    news_.notify_one();
  }

  std::vector<std::string> take() {
    std::unique_lock<std::mutex> lock(mutex_);
    news_.wait(lock, [this] { return failure_ || !messages_.empty(); });
    if (failure_) std::rethrow_exception(failure_);
    const auto first = messages_.begin();  // a frame before a status, whose "end" would hide it
    std::vector<std::string> parts = std::move(first->second);
    messages_.erase(first);
    return parts;
  }

 private:
  std::mutex mutex_;
  std::condition_variable news_;
  std::map<std::string, std::vector<std::string>> messages_;
  std::exception_ptr failure_;
};

float little_endian(const char *bytes) {
  std::uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) bits |= std::uint32_t(static_cast<unsigned char>(bytes[i])) << (8 * i);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// One Zstandard frame that says itself how long it is. In it the lowest byte of every number comes first, then the second
// of every number, and so on; each number has its sign in the lowest bit (zigzag), and is what is left of
// v(y, x) − v(y, x−1) − v(y−1, x) + v(y−1, x−1), bits as whole numbers modulo 2³², with 0 beyond the border.
std::string decompress(const std::string &buffer, std::size_t size, std::size_t rows, std::size_t columns) {
  if (ZSTD_getFrameContentSize(buffer.data(), buffer.size()) != size) fail("an array of another size is compressed");
  std::string sorted(size, '\0'), plain(size, '\0');
  const std::size_t got = ZSTD_decompress(&sorted[0], size, buffer.data(), buffer.size());
  if (ZSTD_isError(got) || got != size) fail("a compressed array is damaged");
  const std::size_t count = size / 4;
  std::vector<std::uint32_t> numbers(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t x = i % columns, y = i / columns % rows;
    std::uint32_t number = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      number |= std::uint32_t(static_cast<unsigned char>(sorted[k * count + i])) << (8 * k);
    }
    number = (number >> 1) ^ (0 - (number & 1));
    if (x) number += numbers[i - 1];
    if (y) number += numbers[i - columns];
    if (x && y) number -= numbers[i - columns - 1];
    numbers[i] = number;
    for (std::size_t k = 0; k < 4; ++k) plain[4 * i + k] = char(number >> (8 * k));
  }
  return plain;
}

// The header is not trusted: every shape must fit the buffer that came.
Array decode_array(const json &info, const std::string &sent) {
  const std::string name = info.at("name");
  const std::string dtype = info.at("dtype");
  if (dtype != PLAIN && dtype != COMPRESSED) fail("array " + name + " has dtype " + dtype);
  Array array{info.at("shape").get<std::vector<std::int64_t>>(), {}};
  if (array.shape.empty()) fail("array " + name + " has no shape");
  std::uint64_t size = 1;
  for (const std::int64_t length : array.shape) {
    if (length < 1 || length > MAX_LENGTH || size > MAX_ARRAY_BYTES / 4) fail("array " + name + " has no such shape");
    size *= std::uint64_t(length);
  }
  if (size > MAX_ARRAY_BYTES / 4) fail("array " + name + " has no such shape");
  std::string decompressed;
  if (dtype == COMPRESSED) {
    const std::size_t axes = array.shape.size();
    decompressed = decompress(sent, size * 4, axes > 1 ? array.shape[axes - 2] : 1, array.shape[axes - 1]);
  }
  const std::string &buffer = dtype == COMPRESSED ? decompressed : sent;
  if (size * 4 != buffer.size()) fail("array " + name + " came with " + std::to_string(buffer.size()) + " bytes");
  array.values.reserve(size);
  for (std::size_t at = 0; at < buffer.size(); at += 4) array.values.push_back(little_endian(&buffer[at]));
  return array;
}

Message decode(const std::vector<std::string> &parts) {
  if (parts.size() < 2 || parts.size() > MAX_PARTS) fail(std::to_string(parts.size()) + " parts");
  if (parts[0] != "depth" && parts[0] != "status") fail("topic " + parts[0]);
  if (parts[1].size() > MAX_HEADER_BYTES) fail("header of " + std::to_string(parts[1].size()) + " bytes");
  Message message{parts[0], json::parse(parts[1]), {}};
  if (message.header.at("schema") != SCHEMA) fail("schema is " + message.header.at("schema").dump());
  const json &infos = message.header.at("arrays");
  if (infos.size() != parts.size() - 2) fail(std::to_string(infos.size()) + " arrays announced, others came");
  for (std::size_t i = 0; i < infos.size(); ++i) {
    message.arrays[infos[i].at("name")] = decode_array(infos[i], parts[i + 2]);
  }
  if (message.topic == "depth") {
    const json &camera = message.header.at("camera");
    const std::vector<std::int64_t> size{camera.at("height"), camera.at("width")};
    if (message.arrays["depth"].shape != size || message.arrays["std"].shape != size) fail("depth of another size");
  }
  return message;
}

// How many messages of this topic were lost before this one.
std::uint64_t lost(const Message &message) {
  static std::map<std::string, std::pair<std::string, std::uint64_t>> next;
  const std::string stream = message.header.at("stream");
  const std::uint64_t seq = message.header.at("seq");
  const auto known = next.find(message.topic);
  const std::uint64_t expected = known != next.end() && known->second.first == stream ? known->second.second : seq;
  next[message.topic] = {stream, seq + 1};
  return seq - expected;
}

void save(const std::string &path, const Array &array) {
  std::string shape;
  for (const std::int64_t length : array.shape) shape += std::to_string(length) + ", ";
  std::string head = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
  head.append(63 - (10 + head.size()) % 64, ' ');
  head += '\n';
  std::ofstream file(path, std::ios::binary);
  file << "\x93NUMPY" << '\x01' << '\x00' << char(head.size() & 0xff) << char(head.size() >> 8) << head;
  for (const float value : array.values) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 4; ++i) file.put(char(bits >> (8 * i)));
  }
  if (!file.flush()) fail(path + ": cannot be written");
}

void print(const Message &message, std::uint64_t missed) {
  std::cout << message.topic << " " << message.header.at("seq");
  if (missed) std::cout << " (" << missed << " lost before it)";
  if (message.topic == "depth") {
    double sum = 0;
    std::size_t known = 0;
    const std::vector<float> &depth = message.arrays.at("depth").values;
    for (const float value : depth) {
      if (!std::isfinite(value)) continue;
      sum += value;
      ++known;
    }
    const json &camera = message.header.at("camera");
    std::cout << ": mean " << (known ? std::to_string(sum / double(known)) + " m" : "unknown") << ", "
              << 100 * known / depth.size() << " % of " << camera.at("width") << "×" << camera.at("height") << " known";
  }
  std::cout << std::endl;
}

Options parse(int count, char **words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word.rfind("--", 0) != 0) {
      options.address = word;
      continue;
    }
    if (++i == count) fail(word + " needs a value");
    if (word == "--frames") options.frames = std::stol(words[i]);
    else if (word == "--newest") options.newest = std::stol(words[i]);
    else if (word == "--save") options.folder = words[i];
    else if (word == "--keys") options.keys = words[i];
    else if (word == "--server-key") options.server_key = words[i];
    else fail(word + ": is no option");
  }
  if (options.keys.empty() != options.server_key.empty()) fail("--keys and --server-key go together");
  return options;
}

// Prints what comes until the stream ends, or there were enough frames.
void listen(const Options &options, const std::function<std::vector<std::string>()> &next) {
  for (long frames = 0; frames < options.frames;) {
    const std::vector<std::string> parts = next();
    try {
      const Message message = decode(parts);
      print(message, lost(message));
      if (message.topic == "depth") {
        for (const std::string name : {"depth", "std"}) {
          const std::string file = name + "_" + message.header.at("seq").dump() + ".npy";
          if (!options.folder.empty()) save(options.folder + "/" + file, message.arrays.at(name));
        }
        ++frames;
        if (options.newest > 0) std::this_thread::sleep_for(std::chrono::milliseconds(options.newest));
      }
      if (message.header.value("end", false)) break;
    } catch (const std::exception &error) {
      std::cerr << "skipped a bad message: " << printable(error.what()) << std::endl;
    }
  }
}

// The same with a thread that receives all the time: a socket that is not read fills up with what is old.
void listen_to_newest(const Options &options, void *context) {
  Newest newest;
  std::thread receiver([&] {
    try {
      const Socket socket = connect(context, options);
      while (true) newest.put(receive(socket.get()));
    } catch (...) {
      newest.fail(std::current_exception());
    }
  });
  std::exception_ptr failure;
  try {
    listen(options, [&] { return newest.take(); });
  } catch (...) {
    failure = std::current_exception();
  }
  zmq_ctx_shutdown(context);  // ends the receiver
  receiver.join();
  if (failure) std::rethrow_exception(failure);
}

int main(int count, char **words) try {
  const Options options = parse(count, words);
  const std::unique_ptr<void, int (*)(void *)> context(zmq_ctx_new(), zmq_ctx_term);
  if (options.newest >= 0) {
    listen_to_newest(options, context.get());
  } else {
    const Socket socket = connect(context.get(), options);
    listen(options, [&] { return receive(socket.get()); });
  }
  return 0;
} catch (const std::exception &error) {
  std::cerr << "error: " << error.what() << std::endl;
  return 1;
}
