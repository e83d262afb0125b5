package link

import (
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/schemas"
)

// warned has the services of WarnPlainText that the log has been told of.
var warned sync.Map

// WarnPlainText tells the log, once per process and service, that a service is reached without
// TLS over a network. addresses are host:port; those of this machine are no reason. key is what
// switches TLS on, such as kafka.tls.enabled. credentials tells whether a password or token
// travels too, which whoever listens can use afterwards.
func WarnPlainText(log zerolog.Logger, service, key string, credentials bool, addresses ...string) {
	for _, addr := range addresses {
		if IsLoopback(addr) {
			continue
		}
		if _, again := warned.LoadOrStore(service, true); again {
			return
		}
		message := "what is sent and received travels in plain text, and can be read and changed on the way: TLS is off"
		if credentials {
			message = "the password or token travels in plain text, and whoever listens on the way can use it: TLS is off"
		}
		log.Warn().Str("service", service).Str("address", schemas.PublicAddress(addr)).Str("key", key).Msg(message)
		return
	}
}

// IsLoopback tells whether host:port, or a host, is this machine by its name.
func IsLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = strings.Trim(addr, "[]")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
