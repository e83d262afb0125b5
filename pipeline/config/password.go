package config

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// ClickHouseOptions are how every part of this process reaches ClickHouse.
func (c Config) ClickHouseOptions(log zerolog.Logger) clickhouse.Options {
	o := clickhouse.Options{
		Addr: c.ClickHouse.Addr, Username: c.ClickHouse.Username, Storage: c.Storage(), Logger: log,
		PasswordFrom: link.From("clickhouse.password", c.ClickHouse.Password, "clickhouse.password_file", c.ClickHouse.PasswordFile),
	}
	if o.PasswordFrom == nil && len(c.ClickHouse.Addr) == 1 && link.IsLoopback(c.ClickHouse.Addr[0]) {
		// The embedded ClickHouse writes its password when it starts, which may be later, or again.
		// The demo's may run on the same address. Another server there needs no password.
		addr := c.ClickHouse.Addr[0]
		o.PasswordFrom = func() (string, error) { return c.Embedded.embeddedPassword(addr) }
	}
	return o
}

// PasswordFile is where the embedded ClickHouse keeps the password of its present run on addr.
func (c Embedded) PasswordFile(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // Validate has seen it
	return filepath.Join(c.Dir, "clickhouse-"+port+".password")
}

// embeddedPassword returns the password that the embedded ClickHouse on addr has written last, be
// it that of dev or of the demo; "" where there is none.
func (c Embedded) embeddedPassword(addr string) (string, error) {
	path, demo := c.PasswordFile(addr), c.ForDemo().PasswordFile(addr)
	info, err := os.Stat(path)
	if other, errDemo := os.Stat(demo); errDemo == nil && (err != nil || other.ModTime().After(info.ModTime())) {
		path = demo
	}
	password, err := link.ReadSecret("embedded.dir", path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return password, err
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
