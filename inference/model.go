package inference

import (
	"path/filepath"
	"sync"

	"github.com/millrace/millrace/schemas"
)

// Model is a loaded version. Its exported fields must not be changed; it is safe for
// concurrent use.
type Model struct {
	Manifest  *schemas.Manifest
	Reference *schemas.Reference // nil if the manifest names none
	Dir       string             // the version's folder

	runRows struct {
		sync.Mutex
		rows int
	}
	selfCheck struct {
		sync.Mutex
		done bool
	}
}

// Ref returns the model's name and version.
func (m *Model) Ref() Ref { return Ref{m.Manifest.Name, m.Manifest.Version} }

// ArtifactPath returns the path of the file that the runtime executes.
func (m *Model) ArtifactPath() string { return filepath.Join(m.Dir, m.Manifest.Artifact.File) }

// RunRows returns how many rows one run of the runtime takes: what the manifest prefers,
// else what measure found the first time that it succeeded for this Model.
func (m *Model) RunRows(measure func() (int, error)) (int, error) {
	if rows := m.Manifest.Batch.PreferredRows; rows > 0 {
		return rows, nil
	}
	m.runRows.Lock()
	defer m.runRows.Unlock()
	if m.runRows.rows == 0 {
		rows, err := measure()
		if err != nil {
			return 0, err
		}
		m.runRows.rows = rows
	}
	return m.runRows.rows, nil
}
