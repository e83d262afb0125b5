package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// peakRSS returns the largest resident size that a process has had, in bytes.
func peakRSS(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read peak memory: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read peak memory: process %d: %w", pid, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("read peak memory: process %d has none: it has ended", pid)
}

// machineTime is what all CPUs have spent since the machine started, in the kernel's ticks.
type machineTime struct{ busy, all int64 }

func readMachineTime() (machineTime, error) {
	const idle, ioWait, steal = 3, 4, 7 // columns of the first line; those behind are in others
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineTime{}, fmt.Errorf("read the machine's CPU time: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) <= steal+1 || fields[0] != "cpu" {
		return machineTime{}, fmt.Errorf("read the machine's CPU time: /proc/stat begins with %q", line)
	}
	var t machineTime
	for i, field := range fields[1 : steal+2] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return machineTime{}, fmt.Errorf("read the machine's CPU time: %w", err)
		}
		t.all += n
		if i != idle && i != ioWait {
			t.busy += n
		}
	}
	return t, nil
}

// busySince returns the share of the machine that was in use, by whomever: 1 is all of it.
func (t machineTime) busySince(from machineTime) float64 {
	return float64(t.busy-from.busy) / float64(max(t.all-from.all, 1))
}

// ownCPU returns the CPU time that this process has used.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
