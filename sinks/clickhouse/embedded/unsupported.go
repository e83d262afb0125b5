//go:build !(linux && amd64)

package embedded

import (
	"context"
	"net"
)

// Engine is the embedded ClickHouse. It is available for linux/amd64 only.
type Engine struct{}

// Open says that the engine is not available for this platform.
func Open(Config) (*Engine, error) { return nil, errPlatform }

// Serve says that the engine is not available for this platform.
func (*Engine) Serve(context.Context, net.Listener) error { return errPlatform }

// Close does nothing.
func (*Engine) Close() error { return nil }
