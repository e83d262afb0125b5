package config

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/sinks/clickhouse"
)

// ClickHouseOptions are how every part of this process reaches ClickHouse.
func (c Config) ClickHouseOptions(log zerolog.Logger) clickhouse.Options {
	o := clickhouse.Options{
		Addr: c.ClickHouse.Addr, Username: c.ClickHouse.Username, Password: c.ClickHouse.Password,
		Storage: c.Storage(), Logger: log,
	}
	switch file := c.ClickHouse.PasswordFile; {
	case file != "":
		o.PasswordFrom = (&passwordFile{path: file}).read
	case c.ClickHouse.Password == "" && len(c.ClickHouse.Addr) == 1 && isLoopback(c.ClickHouse.Addr[0]):
		// The embedded ClickHouse writes its password when it starts, which may be later, or again.
		// The demo's may run on the same address. Another server there needs no password.
		addr := c.ClickHouse.Addr[0]
		o.PasswordFrom = (&passwordFile{path: c.Embedded.PasswordFile(addr), or: c.Embedded.ForDemo().PasswordFile(addr), optional: true}).read
	}
	return o
}

// isLoopback tells whether host:port is this machine.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip, notIP := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || notIP == nil && ip.IsLoopback())
}

// PasswordFile is where the embedded ClickHouse keeps the password of its present run on addr.
func (c Embedded) PasswordFile(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // Validate has seen it
	return filepath.Join(c.Dir, "clickhouse-"+port+".password")
}

// passwordFile is a password that stands in a file, and may change there. It is safe for
// concurrent use.
type passwordFile struct {
	path     string
	or       string // path of another file, which is read where it is the newer one; "" for none
	optional bool   // a file that does not exist is no password

	mu       sync.Mutex
	info     fs.FileInfo // of the file when it was read
	password string
}

// read returns the password that stands in the file now.
func (f *passwordFile) read() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := f.path
	info, err := os.Stat(path)
	if f.or != "" {
		if other, errOther := os.Stat(f.or); errOther == nil && (err != nil || other.ModTime().After(info.ModTime())) {
			path, info, err = f.or, other, nil
		}
	}
	switch {
	case f.optional && errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("clickhouse.password_file: %w", err)
	case f.info != nil && os.SameFile(f.info, info) && f.info.ModTime().Equal(info.ModTime()) && f.info.Size() == info.Size():
		return f.password, nil
	}
	text, err := os.ReadFile(path) //nolint:gosec // the file that the configuration names, or the embedded service's
	if err != nil {
		return "", fmt.Errorf("clickhouse.password_file: %w", err)
	}
	f.info, f.password = info, strings.TrimSpace(string(text))
	return f.password, nil
}

// WritePassword writes a new password into the file, which only this user may read.
func WritePassword(path string) (password string, err error) {
	password = rand.Text()
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*") // 0600
	if err != nil {
		return "", fmt.Errorf("write the password of the embedded ClickHouse: %w", err)
	}
	_, err = fmt.Fprintln(file, password)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path) // whoever reads it sees the old one or the new one
	}
	if err != nil {
		return "", fmt.Errorf("write the password of the embedded ClickHouse: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return password, nil
}
