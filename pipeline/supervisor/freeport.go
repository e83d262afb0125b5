package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
)

// portsTried is how many ports FreePort tries, the preferred one included.
const portsTried = 100

// lowestPort is the least that FreePort returns for port 0: services have lower ones.
const lowestPort = 10_000

// FreePort returns preferred, an address such as 127.0.0.1:9092, when nothing listens
// there, and else the same host with the next free port; taken says that it is another one.
// Prefer a port below 32768: the kernel lends higher ones to clients, which could take it
// before the child listens, or while it is down. Port 0 gives any free port below it.
//
// Nothing reserves the port: whoever listens first has it.
func FreePort(preferred string) (addr string, taken bool, err error) {
	want, err := netip.ParseAddrPort(strings.Replace(preferred, "localhost:", "127.0.0.1:", 1))
	if err != nil || !want.Addr().IsLoopback() {
		return "", false, fmt.Errorf("find a free port: want a loopback address such as 127.0.0.1:9092, got %q", preferred)
	}
	first := int(want.Port())
	if first == 0 {
		first = lowestPort + rand.IntN(32768-lowestPort-portsTried) //nolint:gosec // no secret
	}
	for i := range portsTried {
		port := first + i
		if port > 65535 {
			break
		}
		var lc net.ListenConfig
		l, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(want.Addr().String(), strconv.Itoa(port)))
		if err == nil {
			return l.Addr().String(), want.Port() != 0 && i > 0, l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", false, fmt.Errorf("find a free port near %s: %w", preferred, err)
		}
	}
	return "", false, fmt.Errorf("find a free port near %s: the next %d are in use too: choose another", preferred, portsTried-1)
}
