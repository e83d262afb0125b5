//go:build !(linux && amd64)

package embedded

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
)

var errPlatform = errors.New("the embedded ClickHouse engine is available for linux/amd64 only: point clickhouse.addr at a ClickHouse server instead")

// Engine is the embedded ClickHouse. It is available for linux/amd64 only.
type Engine struct{}

// Open says that the engine is not available for this platform.
func Open(Config) (*Engine, error) { return nil, errPlatform }

// Harden does nothing.
func Harden(int) error { return nil }

// Lacking says nothing.
func (*Engine) Lacking() string { return "" }

// PasswordDigest returns the SHA-256 of a password.
func PasswordDigest(password string) [sha256.Size]byte { return sha256.Sum256([]byte(password)) }

// Serve says that the engine is not available for this platform.
func (*Engine) Serve(context.Context, net.Listener) error { return errPlatform }

// Close does nothing.
func (*Engine) Close() error { return nil }
