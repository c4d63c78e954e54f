"""The gate of one game, driven by every sequence of what can happen."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lanspread.fs.gate import Gate


class GateMachine(RuleBasedStateMachine):
    """A model that only remembers what was promised to whom."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.walking = False
        self.holds = 0
        # What happened since the last walk began, and is owed one.
        self.asked = False
        self.changed = False

    @rule()
    def hint(self) -> None:
        self.gate.hint()
        self.changed = True

    @rule()
    def ask(self) -> None:
        self.gate.ask()
        self.asked = True

    @rule()
    def operation_begins(self) -> None:
        self.gate.hold()
        self.holds += 1

    @precondition(lambda self: self.holds > 0)
    @rule()
    def operation_ends(self) -> None:
        self.gate.release()
        self.holds -= 1
        self.changed = True

    @rule()
    def try_to_walk(self) -> None:
        began = self.gate.begin()
        owed = self.asked or (self.changed and not self.holds)
        assert began == (owed and not self.walking)
        if began:
            self.walking = True
            self.asked = False
            # While an operation is active its end is owed a walk whatever was seen before.
            self.changed = False

    @precondition(lambda self: self.walking)
    @rule()
    def walk_ends(self) -> None:
        self.gate.end()
        self.walking = False

    @invariant()
    def no_wake_up_is_lost(self) -> None:
        """Left alone, with every operation over, whatever is owed is walked, then all is quiet."""
        gate = Gate()
        for name in ("_walking", "_asked", "_hinted", "_holds"):
            setattr(gate, name, getattr(self.gate, name))
        owed = self.asked or self.changed or self.holds > 0
        for _ in range(self.holds):
            gate.release()
        walked = 0
        if self.walking:
            gate.end()
        while gate.begin():
            walked += 1
            gate.end()
        assert walked == (1 if owed else 0)
        assert gate.is_idle

    @invariant()
    def only_an_idle_gate_is_forgotten(self) -> None:
        changed = self.changed and not self.holds
        quiet = not (self.walking or self.asked or self.holds or changed)
        assert self.gate.is_idle == quiet
        assert self.gate.is_held == (self.holds > 0)


TestGate = GateMachine.TestCase
TestGate.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
