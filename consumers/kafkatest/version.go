package kafkatest

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Version returns the version of the jars that Start runs, such as 4.4.0.
func Version() (string, error) {
	lib, err := findJars()
	if err != nil {
		return "", err
	}
	jars, err := filepath.Glob(filepath.Join(lib, "kafka_*.jar")) // one, as findJars has seen
	if err != nil {
		return "", fmt.Errorf("tell Kafka's version: %w", err)
	}
	_, version, _ := strings.Cut(strings.TrimSuffix(filepath.Base(jars[0]), ".jar"), "-")
	return version, nil
}
