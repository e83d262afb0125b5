package embedded

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
)

// Config says where the engine lies, where it keeps its data and where it listens.
type Config struct {
	// Library is the path of libchdb.so. Default: FindLibrary.
	Library string
	// Dir is the data directory, created when missing. One process at a time may open it.
	// A config.xml in it is read as ClickHouse's configuration, else defaults.xml, which is
	// written at each start; no other one is.
	Dir string
	// Listen is the loopback address that Serve listens on when it is given no listener,
	// such as 127.0.0.1:8123.
	Listen string
	// AllowExternal lets queries read and write files and reach other hosts, by table
	// functions such as file and url, by engines, and by INTO OUTFILE and FROM INFILE.
	AllowExternal bool
}

var errPlatform = errors.New("the embedded ClickHouse engine is available for linux/amd64 only: point clickhouse.addr at a ClickHouse server instead")

// nativeLibrary is where `make native` puts the library, below the root of the module.
const nativeLibrary = "deploy/native/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"

// FindLibrary returns the path of libchdb.so. It looks at MILLRACE_LIBCHDB, then beside the
// executable, in lib next to the executable's folder, and in deploy/native of the executable's
// folder, of the folder above it and of the module that the working directory belongs to.
func FindLibrary() (string, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", errPlatform
	}
	if path := os.Getenv("MILLRACE_LIBCHDB"); path != "" {
		if !isFile(path) {
			return "", fmt.Errorf("MILLRACE_LIBCHDB is %s, where there is no file: correct or unset it", path)
		}
		return path, nil
	}
	var candidates []string
	if exe, err := os.Executable(); err == nil {
		dir := filepath.Dir(exe)
		candidates = append(candidates,
			filepath.Join(dir, "libchdb.so"),
			filepath.Join(dir, "../lib/libchdb.so"),
			filepath.Join(dir, nativeLibrary),
			filepath.Join(dir, "..", nativeLibrary))
	}
	// Only the module's own folder is trusted, not every folder above the working directory:
	// one of them may be writable by others, such as /tmp.
	if dir, err := os.Getwd(); err == nil {
		for !isFile(filepath.Join(dir, "go.mod")) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
		}
		if isFile(filepath.Join(dir, "go.mod")) {
			candidates = append(candidates, filepath.Join(dir, nativeLibrary))
		}
	}
	for _, path := range candidates {
		if isFile(path) {
			return path, nil
		}
	}
	return "", errors.New("libchdb.so, the embedded ClickHouse engine, is not installed: run `make native`, or set MILLRACE_LIBCHDB to its path")
}

func isFile(path string) bool {
	info, err := os.Stat(path) //nolint:gosec // the user names the library that this process loads
	return err == nil && info.Mode().IsRegular()
}

// checkLoopback refuses a host:port that other machines could reach.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", addr, err)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen address %s is not a loopback address: the embedded ClickHouse has no users or passwords, so choose 127.0.0.1, ::1 or localhost", addr)
	}
	return nil
}
