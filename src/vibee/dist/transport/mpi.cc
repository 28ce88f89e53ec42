// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/transport/mpi.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "vibee/core/measure/measure.h"

namespace vibee {
namespace {

// The interface of libmpi.so.40 (Open MPI 2 to 5): handles are pointers, predefined ones addresses in the library.
using Handle = void*;
struct MpiStatus {
  int source, tag, error, cancelled;
  size_t bytes;
};
constexpr int kThreadSerialized = 2;

struct Mpi {
  int (*init)(int*, char***, int, int*);
  int (*finalize)();
  int (*rank)(Handle, int*);
  int (*size)(Handle, int*);
  int (*duplicate)(Handle, Handle*);
  int (*set_errors)(Handle, Handle);
  int (*send)(const void*, int, Handle, int, int, Handle, Handle*);
  int (*receive)(void*, int, Handle, int, int, Handle, Handle*);
  int (*test)(Handle*, int*, MpiStatus*);
  int (*cancel)(Handle*);
  int (*free_request)(Handle*);
  int (*error_text)(int, char*, int*);
  Handle world, byte, errors_return;
};

Result<Mpi> load() {
  // Its own plug-ins look for its symbols among those of the program.
  void* const library = ::dlopen("libmpi.so.40", RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr)
    return error(Code::not_found, "libmpi.so.40: cannot be loaded ({}); install Open MPI (Debian: openmpi-bin)",
                 ::dlerror());
  Mpi m{};
  std::string missing;
  const auto find = [&](const char* name, auto& to) {
    void* const at = ::dlsym(library, name);
    if (at == nullptr) missing = name;
    std::memcpy(&to, &at, sizeof at);
  };
  find("MPI_Init_thread", m.init);
  find("MPI_Finalize", m.finalize);
  find("MPI_Comm_rank", m.rank);
  find("MPI_Comm_size", m.size);
  find("MPI_Comm_dup", m.duplicate);
  find("MPI_Comm_set_errhandler", m.set_errors);
  find("MPI_Isend", m.send);
  find("MPI_Irecv", m.receive);
  find("MPI_Test", m.test);
  find("MPI_Cancel", m.cancel);
  find("MPI_Request_free", m.free_request);
  find("MPI_Error_string", m.error_text);
  find("ompi_mpi_comm_world", m.world);
  find("ompi_mpi_byte", m.byte);
  find("ompi_mpi_errors_return", m.errors_return);
  if (!missing.empty()) return error(Code::unsupported, "libmpi.so.40 has no {}: it is no Open MPI", missing);
  return m;
}

/// Counts of MPI are ints.
constexpr size_t kPiece = size_t(1) << 30;
/// Beside the tags of messages: a sign of life, empty, or why its sender gives up.
constexpr int kLifeTag = 1 << 20;
using LifeText = std::array<char, 512>;

class MpiTransport final : public Transport {
 public:
  MpiTransport(const Mpi& mpi, Handle comm, uint32_t rank, uint32_t size)
      : mpi_(mpi), comm_(comm), rank_(rank), peers_(size) {
    for (uint32_t p = 0; p < size; ++p)
      if (p != rank_) listen(p);
  }
  ~MpiTransport() override {
    if (lost_) return;  // finalising waits for everybody
    for (Peer& peer : peers_) {
      if (peer.listening != nullptr) {
        mpi_.cancel(&peer.listening);
        mpi_.free_request(&peer.listening);
      }
      if (peer.beating != nullptr) mpi_.free_request(&peer.beating);
    }
    mpi_.finalize();
  }
  uint32_t rank() const override { return rank_; }
  uint32_t size() const override { return uint32_t(peers_.size()); }

  Ticket send(uint32_t peer, uint32_t tag, std::span<const uint8_t> bytes) override {
    Message& message = open_[++last_];
    for (size_t at = 0; at < bytes.size(); at += kPiece) {
      const size_t n = std::min(kPiece, bytes.size() - at);
      message.pieces.push_back({nullptr, 0});
      note(peer,
           mpi_.send(bytes.data() + at, int(n), mpi_.byte, int(peer), int(tag), comm_, &message.pieces.back().request));
    }
    message.peer = peer;
    return last_;
  }
  Ticket receive(uint32_t peer, uint32_t tag, std::span<uint8_t> bytes) override {
    Message& message = open_[++last_];
    for (size_t at = 0; at < bytes.size(); at += kPiece) {
      const size_t n = std::min(kPiece, bytes.size() - at);
      message.pieces.push_back({nullptr, n});
      note(peer, mpi_.receive(bytes.data() + at, int(n), mpi_.byte, int(peer), int(tag), comm_,
                              &message.pieces.back().request));
    }
    message.peer = peer;
    return last_;
  }
  bool done(Ticket ticket) override {
    const auto it = open_.find(ticket);
    if (it == open_.end()) return false;
    Message& message = it->second;
    std::erase_if(message.pieces, [&](Piece& piece) {
      MpiStatus status{};
      if (!test(message.peer, &piece.request, &status)) return false;
      if (piece.wanted > 0 && status.bytes != piece.wanted && failed_.ok())
        failed_ = error(Code::invalid, "rank {} sent {} bytes, rank {} waits for {}", message.peer, status.bytes, rank_,
                        piece.wanted);
      return true;
    });
    if (!message.pieces.empty() || !failed_.ok()) return false;
    open_.erase(it);
    return true;
  }

  Status poll() override {
    const double time = monotonic_seconds();
    // Who slept (a stopped job that goes on) has heard of nobody meanwhile.
    if (time - polled_ > 2)
      for (Peer& peer : peers_) peer.heard = time;
    polled_ = time;
    const bool beat = time - beat_ > 1;
    if (beat) beat_ = time;
    for (uint32_t p = 0; p < peers_.size() && failed_.ok(); ++p) {
      if (p == rank_) continue;
      Peer& peer = peers_[p];
      MpiStatus status{};
      if (test(p, &peer.listening, &status)) {
        peer.heard = time;
        peer.text.back() = 0;
        if (peer.text[0] != 0) failed_ = error(Code::io, "rank {}: {}", p, peer.text.data());
        if (failed_.ok()) listen(p);
      }
      if (time - peer.heard > kSilence && failed_.ok())
        failed_ =
            error(Code::io, "rank {} has not been heard of for {} s: it hangs, or its machine is gone", p, kSilence);
      if (beat && failed_.ok() && (peer.beating == nullptr || test(p, &peer.beating, &status))) say(p);
    }
    if (!failed_.ok()) lost_ = true;
    return failed_;
  }

  void abort(const std::string& why) override {
    lost_ = true;
    said_[why.copy(said_.data(), said_.size() - 1)] = 0;
    MpiStatus status{};
    const auto all_said = [&] {
      bool all = true;
      for (uint32_t p = 0; p < peers_.size(); ++p)
        all = (p == rank_ || peers_[p].beating == nullptr || test(p, &peers_[p].beating, &status)) && all;
      return all;
    };
    const double begin = monotonic_seconds();
    while (!all_said() && monotonic_seconds() - begin < 1) {
    }
    for (uint32_t p = 0; p < peers_.size(); ++p)
      if (p != rank_) say(p);
    while (!all_said() && monotonic_seconds() - begin < 2) {
    }
  }

 private:
  struct Piece {
    Handle request;
    size_t wanted;  ///< bytes; 0: it is sent
  };
  struct Message {
    uint32_t peer = 0;
    std::vector<Piece> pieces;
  };
  struct Peer {
    Handle listening = nullptr, beating = nullptr;
    LifeText text{};
    double heard = 0;
  };
  void note(uint32_t peer, int code) {
    if (code == 0 || !failed_.ok()) return;
    std::array<char, 1024> text{};
    int length = 0;
    mpi_.error_text(code, text.data(), &length);
    failed_ = error(Code::io, "rank {}: {}", peer, text.data());
  }
  /// Whether a request is over; it is null then.
  bool test(uint32_t peer, Handle* request, MpiStatus* status) {
    int flag = 0;
    note(peer, mpi_.test(request, &flag, status));
    if (flag == 0) return false;
    *request = nullptr;
    return true;
  }
  void listen(uint32_t p) {
    note(p, mpi_.receive(peers_[p].text.data(), int(peers_[p].text.size()), mpi_.byte, int(p), kLifeTag, comm_,
                         &peers_[p].listening));
  }
  void say(uint32_t p) {
    note(p, mpi_.send(said_.data(), int(said_.size()), mpi_.byte, int(p), kLifeTag, comm_, &peers_[p].beating));
  }

  Mpi mpi_;
  Handle comm_;
  uint32_t rank_;
  std::vector<Peer> peers_;
  std::unordered_map<Ticket, Message> open_;
  LifeText said_{};
  Ticket last_ = 0;
  double polled_ = 0, beat_ = 0;
  bool lost_ = false;
  Status failed_;
};

std::optional<uint32_t> variable(const char* name) {
  const char* const text = std::getenv(name);
  uint32_t value = 0;
  if (text == nullptr || std::from_chars(text, text + std::strlen(text), value).ec != std::errc()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<MpiRank> mpi_rank() {
  const auto rank = variable("OMPI_COMM_WORLD_RANK"), size = variable("OMPI_COMM_WORLD_SIZE");
  if (!rank || !size || *rank >= *size) return std::nullopt;
  return MpiRank{*rank, *size, variable("OMPI_COMM_WORLD_LOCAL_SIZE").value_or(*size)};
}

Result<std::unique_ptr<Transport>> mpi_transport() {
  VIBEE_ASSIGN(const Mpi mpi, load());
  int provided = 0, rank = 0, size = 0;
  Handle comm = nullptr;
  if (mpi.init(nullptr, nullptr, kThreadSerialized, &provided) != 0 || provided < kThreadSerialized)
    return error(Code::unsupported, "MPI_Init_thread: this Open MPI has no threads");
  if (mpi.duplicate(mpi.world, &comm) != 0 || mpi.set_errors(comm, mpi.errors_return) != 0 ||
      mpi.rank(comm, &rank) != 0 || mpi.size(comm, &size) != 0)
    return error(Code::io, "Open MPI gave no communicator");
  return std::unique_ptr<Transport>(new MpiTransport(mpi, comm, uint32_t(rank), uint32_t(size)));
}

}  // namespace vibee
