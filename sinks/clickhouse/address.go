package clickhouse

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/link"
)

// Address is where one server's HTTP interface is.
type Address struct {
	Secure bool   // by TLS
	Host   string // host:port
	path   string // in front of what the interface is asked for, as behind a proxy; "" or /a/b
}

// String returns what may be shown: a path can hold a token of the proxy that it names.
func (a Address) String() string { return a.Host }

// Loopback tells whether the address is this machine by its name.
func (a Address) Loopback() bool { return link.IsLoopback(a.Host) }

// ParseAddress reads host:port, which is reached by TLS where that is on, or a URL with http or
// https and a port, perhaps with the path of a proxy. The errors repeat no user and no password.
func ParseAddress(text string, tls link.TLS) (Address, error) {
	a := Address{Secure: tls.On(), Host: text}
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil {
			return Address{}, fmt.Errorf("%q is no URL", schemas.PublicAddress(text))
		}
		switch {
		case u.Scheme != "http" && u.Scheme != "https":
			return Address{}, fmt.Errorf("%q: the HTTP interface is needed: host:port, http:// or https://, and its port, which is 8123 or 8443 unless the server says otherwise", schemas.PublicAddress(text))
		case u.User != nil:
			return Address{}, fmt.Errorf("%q names a user: write it as clickhouse.username, and the password as clickhouse.password_file or clickhouse.password", schemas.PublicAddress(text))
		case u.RawQuery != "" || u.Fragment != "":
			return Address{}, fmt.Errorf("%q: nothing stands behind the path: settings belong to the user's profile on the server", schemas.PublicAddress(text))
		case u.Scheme == "http" && tls.On():
			return Address{}, fmt.Errorf("%q: clickhouse.tls is set, and http:// is plain text: write https:// or host:port", schemas.PublicAddress(text))
		case u.Port() == "":
			return Address{}, fmt.Errorf("%q: write the port: ClickHouse's own is 8443 for https and 8123 for http, that of a proxy often 443", schemas.PublicAddress(text))
		}
		a = Address{Secure: u.Scheme == "https", Host: u.Host, path: strings.TrimRight(u.Path, "/")}
	}
	host, port, err := net.SplitHostPort(a.Host)
	_, badPort := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || badPort != nil || strings.ContainsAny(host, "@/?# ") {
		return Address{}, fmt.Errorf("%q is neither host:port nor a URL as https://host:8443", schemas.PublicAddress(text))
	}
	return a, nil
}

// ParseAddresses reads several, each of which is another server.
func ParseAddresses(texts []string, tls link.TLS) ([]Address, error) {
	var all []Address
	for _, text := range texts {
		a, err := ParseAddress(text, tls)
		if err != nil {
			return nil, fmt.Errorf("clickhouse.addr: %w", err)
		}
		if slices.Contains(all, a) {
			return nil, fmt.Errorf("clickhouse.addr: %s stands twice", a)
		}
		all = append(all, a)
	}
	return all, nil
}
