package main

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Schedule fixes when requests are due: number First+i at Start + i/Rate.
type Schedule struct {
	First   int64   `json:"first"`   // sequence number of the first request
	Records int64   `json:"records"` // how many there are
	Start   int64   `json:"start"`   // of the machine's monotonic clock, nanoseconds
	Rate    float64 `json:"rate"`    // records per second; 0: as fast as can be
	Window  int64   `json:"window"`  // at most so many in flight; 0: any number
}

// due returns when the i-th request is due, by the machine's monotonic clock.
func (s *Schedule) due(i int64) int64 {
	if s.Rate == 0 {
		return s.Start
	}
	return s.Start + int64(float64(i)*1e9/s.Rate)
}

// arrived returns how many requests are due at a time.
func (s *Schedule) arrived(now int64) int64 {
	if now < s.Start {
		return 0
	}
	if s.Rate == 0 {
		return s.Records
	}
	n := int64(float64(now-s.Start)*s.Rate/1e9) + 1
	for n > 0 && s.due(n-1) > now { // rounding, either way
		n--
	}
	for s.due(n) <= now {
		n++
	}
	return min(n, s.Records)
}

// monotonic is a clock that all processes of the machine share, in nanoseconds.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("the monotonic clock cannot be read: %v", err)) // it is there on every Linux
	}
	return t.Nano()
}

// keyBytes is the size of a request's key.
const keyBytes = 8

// An odd factor has an inverse modulo 2^64, so that different numbers have different keys.
const (
	keyFactor  uint64 = 0x9e3779b97f4a7c15
	keyInverse uint64 = 0xf1de83e19937733d
)

// appendKey appends the key of a request: its number, made to look random.
func appendKey(dst []byte, seq int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(seq)*keyFactor)
}

// sequence returns the number in a key, -1 if it is no key of this package.
func sequence(key []byte) int64 {
	if len(key) != keyBytes {
		return -1
	}
	return int64(binary.BigEndian.Uint64(key) * keyInverse)
}

// until returns how long it is to a time of the monotonic clock.
func until(at int64) time.Duration { return time.Duration(at - monotonic()) }
