import subprocess
import sys

import piying


def test_the_public_names_are_these():
    assert piying.__all__ == ["Model", "Request", "Video", "load"]
    for name in piying.__all__:
        assert getattr(piying, name).__name__ == name
    assert set(piying.__all__) <= set(dir(piying))


def test_importing_piying_starts_nothing_heavy():
    heavy = "{'torch', 'pydantic', 'numpy', 'av', 'PIL'}"
    code = f"import sys, piying; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
