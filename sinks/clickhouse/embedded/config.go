package embedded

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"os"
)

// Config says where the engine lies, where it keeps its data and where it listens.
type Config struct {
	// Library is the path of libchdb.so, which the caller has checked. Default: the one that
	// package native finds.
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
	// Sandbox says whether Open confines this process, for ever, to the data directory, the
	// connections that it accepts, and itself. Its listener must be open before. Default: SandboxOff.
	Sandbox Sandbox
	// Password is PasswordDigest of the password. Who has none may read, within limits. Nil lets
	// everybody do everything.
	Password *[sha256.Size]byte
}

// Sandbox says whether the process is confined.
type Sandbox string

// The choices: as far as the kernel can, fully or not at all, and not at all.
const (
	SandboxAuto     Sandbox = "auto"
	SandboxRequired Sandbox = "required"
	SandboxOff      Sandbox = "off"
)

func (s Sandbox) on() bool { return s == SandboxAuto || s == SandboxRequired }

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// checkLoopback refuses a host:port that other machines could reach.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", addr, err)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen address %s is not a loopback address: the embedded ClickHouse lets everybody who reaches it read, so choose 127.0.0.1, ::1 or localhost", addr)
	}
	return nil
}
