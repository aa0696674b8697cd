PY := .venv/bin/python

.PHONY: setup demo test check fuzz proto bench oracle sweep-binning sweep-verdict sweep-views sweep-scores attack dictionary uci time-bins clean
.venv/.done: pyproject.toml constraints.txt
	python3 -m venv .venv && $(PY) -m pip install -q -c constraints.txt -e '.[dev]' && touch $@
setup: .venv/.done
demo: setup
	$(PY) -m joint_risk.demo
test: setup
	$(PY) -m pytest -q -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder
fuzz: setup
	$(PY) -m pytest -q -m hypothesis --hypothesis-profile=fresh
check: setup
	.venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports
proto: setup
	$(PY) scripts/generate_proto.py
bench: setup
	set -e; for script in scripts/bench/align.py scripts/bench/bin.py scripts/bench/group.py scripts/bench/paillier.py scripts/bench/train.py; do $(PY) $$script; done
build/oracle/.done:
	python3 -m venv build/oracle && build/oracle/bin/python -m pip install -q optbinning==1.0.0 && touch $@
oracle: build/oracle/.done
sweep-binning: setup oracle
	$(PY) scripts/sweeps/binning.py
sweep-verdict: setup
	$(PY) scripts/sweeps/verdict.py
sweep-views: setup
	$(PY) scripts/sweeps/views.py
sweep-scores: setup
	$(PY) scripts/sweeps/scores_to_bins.py
attack: setup sweep-scores
	$(PY) -m tests.simulation.attackers.weights
	$(PY) -m pytest -q -m 'large or not large' tests/simulation tests/e2e/test_doors.py
dictionary: setup
	$(PY) scripts/sweeps/dictionary.py
uci: setup
	$(PY) scripts/uci_scorecard.py
time-bins: setup
	$(PY) scripts/bench/bins_through_nodes.py
clean:
	rm -rf .venv build demo
