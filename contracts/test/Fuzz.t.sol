// SPDX-License-Identifier: Apache-2.0
// Properties over random invoices, signatures, payees, amounts, times and gas.
pragma solidity 0.8.37;

import {PPVSplitter} from "../src/PPVSplitter.sol";
import {Base, Till} from "./Base.sol";

contract FuzzTest is Base {
    Till private till;

    function setUp() public override {
        super.setUp();
        till = new Till();
        till.set(Till.Mood.Refuses);
    }

    /// 1 to 3 payees, and up to 16 one time out of four, of their own addresses, of amounts up to 2^80; every one whose bit is
    /// set in `odd` cannot receive.
    function _payees(uint256 seed, uint16 odd) private view returns (PPVSplitter.Payee[] memory list) {
        list = new PPVSplitter.Payee[](1 + (seed >> 8) % (seed % 4 == 0 ? 16 : 3));
        for (uint256 i = 0; i < list.length; i++) {
            uint256 r = uint256(keccak256(abi.encode(seed, i)));
            bool bad = (odd >> i) & 1 == 1;
            list[i].to = bad ? address(till) : address(uint160(uint256(keccak256(abi.encode(r, "payee")))));
            list[i].amount = 1 + (r >> (r % 80)) % 2 ** 80;
        }
    }

    function _check(PPVSplitter.Invoice memory o, uint256 credit) private view {
        uint256 sum = 0;
        for (uint256 i = 0; i < o.payees.length; i++) {
            if (o.payees[i].to == address(till)) sum += o.payees[i].amount;
            else vm.assertEq(_balance(o.token, o.payees[i].to), o.payees[i].amount, "the share, to the unit");
        }
        vm.assertEq(splitter.credits(o.token, address(till)), sum, "what could not be received is credited");
        vm.assertEq(splitter.owed(o.token), credit + sum, "owed");
        vm.assertTrue(splitter.used(o.id), "used");
        _nothingStray(o.token);
    }

    function testFuzz_native_shares(uint256 seed, uint16 odd) public {
        PPVSplitter.Invoice memory o = _invoice(NATIVE, _payees(seed, odd));
        uint256 before = payer.balance;
        _payNative(o);
        vm.assertEq(before - payer.balance, o.amount, "sum in");
        _check(o, 0);
    }

    function testFuzz_token_shares(uint256 seed, uint16 odd) public {
        dollar.setBlocked(address(till), true);
        PPVSplitter.Invoice memory o = _invoice(address(dollar), _payees(seed, odd));
        uint256 before = dollar.balanceOf(payer);
        _payToken(o);
        vm.assertEq(before - dollar.balanceOf(payer), o.amount, "sum in");
        _check(o, 0);
    }

    function testFuzz_authorization(uint256 seed, uint16 odd, address relayer) public {
        vm.assume(relayer != address(0));
        dollar.setBlocked(address(till), true);
        PPVSplitter.Invoice memory o = _invoice(address(dollar), _payees(seed, odd));
        bytes32 nonce = splitter.hashInvoice(o);
        bytes memory auth = _sign(PAYER, _receiveDigest(o, nonce));
        bytes memory sig = _signed(o);
        vm.prank(relayer);
        splitter.payWithAuthorization(o, sig, 0, type(uint256).max, nonce, auth);
        _check(o, 0);
    }

    /// Any field changed after signing, also in ways that leave the invoice well-formed, is refused.
    function testFuzz_changed_field(uint256 seed, uint256 which, uint256 by) public {
        PPVSplitter.Invoice memory o = _invoice(NATIVE, _payees(seed, 0));
        bytes memory sig = _signed(o);
        bytes32 hash = splitter.hashInvoice(o);
        uint256 k = by % o.payees.length;
        which %= 8;
        if (which == 0) o.id = keccak256(abi.encode(o.id, by));
        if (which == 1) o.deadline += uint64(1 + by % 1e9);
        if (which == 2) o.payees[k].to = address(uint160(o.payees[k].to) ^ uint160(1 << (by % 160)));
        if (which == 3) (o.payees[k].amount, o.amount) = (o.payees[k].amount + 1 + by % 1e18, o.amount + 1 + by % 1e18);
        if (which == 4) o.payer = address(uint160(o.payer) ^ uint160(1 << (by % 160)));
        if (which == 5) (o.payees[0], o.payees[k]) = (o.payees[k], o.payees[0]);
        if (which == 6) o.payees = _payees(~seed, 0);
        if (which == 7) o.token = address(uint160(1 << (by % 160)));
        if (which == 6) o.amount = _sum(o.payees);
        vm.assume(keccak256(abi.encode(o.payees)) != keccak256(abi.encode(_payees(seed, 0))) || (which != 5 && which != 6));
        vm.assertTrue(splitter.hashInvoice(o) != hash, "another digest");
        vm.deal(o.payer, o.amount);
        vm.expectRevert(which == 7 ? abi.encodeWithSelector(PPVSplitter.WrongToken.selector, o.token) : _bad());
        vm.prank(o.payer);
        splitter.payNative{value: o.amount}(o, sig);
    }

    function _bad() private pure returns (bytes memory) {
        return abi.encodeWithSelector(PPVSplitter.BadSignature.selector);
    }

    function _sum(PPVSplitter.Payee[] memory list) private pure returns (uint256 sum) {
        for (uint256 i = 0; i < list.length; i++) sum += list[i].amount;
    }

    /// No bytes but the one low-s signature pay: not one changed bit, not the twin, not noise of any length.
    function testFuzz_signature(uint256 seed, uint16 bit, bytes memory noise) public {
        PPVSplitter.Invoice memory o = _invoice(NATIVE, _payees(seed, 0));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER, splitter.hashInvoice(o));
        bytes memory sig = abi.encodePacked(r, s, v);
        uint256 k = bit % (65 * 8);
        sig[k / 8] ^= bytes1(uint8(1 << (k % 8)));
        vm.startPrank(payer);
        vm.expectRevert(PPVSplitter.BadSignature.selector);
        splitter.payNative{value: o.amount}(o, sig);
        vm.expectRevert(PPVSplitter.BadSignature.selector);
        splitter.payNative{value: o.amount}(o, abi.encodePacked(r, bytes32(N - uint256(s)), uint8(55 - v)));
        vm.expectRevert(PPVSplitter.BadSignature.selector);
        splitter.payNative{value: o.amount}(o, noise);
        vm.stopPrank();
    }

    /// A key other than the signer's, or the signer's for another chain or contract.
    function testFuzz_signer(uint256 key, uint64 chain, uint256 seed) public {
        key = 1 + key % (N - 1);
        vm.assume(key != SIGNER && chain != block.chainid && chain != 0);
        PPVSplitter.Invoice memory o = _invoice(NATIVE, _payees(seed, 0));
        bytes memory other = _sign(key, splitter.hashInvoice(o));
        vm.expectRevert(PPVSplitter.BadSignature.selector);
        vm.prank(payer);
        splitter.payNative{value: o.amount}(o, other);
        bytes memory sig = _signed(o);
        uint256 here = block.chainid;
        vm.chainId(chain);
        vm.expectRevert(PPVSplitter.BadSignature.selector);
        vm.prank(payer);
        splitter.payNative{value: o.amount}(o, sig);
        vm.chainId(here);
    }

    function testFuzz_paid_once(uint256 seed, uint256 again) public {
        PPVSplitter.Invoice memory o = _invoice(NATIVE, _payees(seed, 0));
        _payNative(o);
        PPVSplitter.Invoice memory other = _invoice(NATIVE, _payees(again, 0));
        other.id = o.id;
        bytes memory sig = _signed(other);
        vm.expectRevert(abi.encodeWithSelector(PPVSplitter.AlreadyPaid.selector, o.id));
        vm.prank(payer);
        splitter.payNative{value: other.amount}(other, sig);
    }

    function testFuzz_deadline_payer_and_value(uint64 deadline, uint64 now_, address who, uint128 value) public {
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        o.deadline = deadline;
        bytes memory sig = _signed(o);
        vm.warp(now_);
        vm.deal(who, value);
        uint256 paid = who.balance;
        vm.prank(who);
        (bool ok,) = address(splitter).call{value: value}(abi.encodeCall(splitter.payNative, (o, sig)));
        vm.assertFalse(ok && (now_ > deadline || who != payer || value != o.amount), "in time, by the payer, exact");
        if (!ok) vm.assertEq(who.balance, paid, "a refusal costs nothing");
        vm.deal(payer, o.amount); // whoever was drawn may have been the payer, with too little
        vm.prank(payer);
        (ok,) = address(splitter).call{value: o.amount}(abi.encodeCall(splitter.payNative, (o, sig)));
        vm.assertTrue(ok || splitter.used(o.id) || now_ > deadline, "what is in time, exact and the payer's is taken");
    }

    /// However little gas is given: either nothing happens, or whoever can receive is paid and not credited.
    function testFuzz_gas(uint256 seed, uint256 gas) public {
        PPVSplitter.Invoice memory o = _invoice(NATIVE, _payees(seed, 0));
        bytes memory data = abi.encodeCall(splitter.payNative, (o, _signed(o)));
        gas = 20_000 + gas % 1_000_000;
        vm.prank(payer);
        (bool ok,) = address(splitter).call{value: o.amount, gas: gas}(data);
        vm.assertEq(splitter.owed(NATIVE), 0, "nobody is starved into a credit");
        vm.assertTrue(ok == splitter.used(o.id), "all or nothing");
        for (uint256 i = 0; i < o.payees.length; i++) {
            vm.assertEq(o.payees[i].to.balance, ok ? o.payees[i].amount : 0, "share");
        }
    }

    /// Somebody's credit is never somebody else's: withdrawals and rescues in any order take what is theirs.
    function testFuzz_credits(uint256 seed, uint16 odd, uint64 forced, bool rescueFirst) public {
        PPVSplitter.Invoice memory o = _invoice(NATIVE, _payees(seed, odd));
        _payNative(o);
        uint256 credit = splitter.credits(NATIVE, address(till));
        vm.deal(address(splitter), credit + forced);
        if (rescueFirst) _rescue(forced);
        till.set(Till.Mood.Takes);
        (bool ok,) = till.run(address(splitter), abi.encodeCall(splitter.withdraw, (NATIVE)));
        vm.assertTrue(ok == (credit > 0), "a credit can be withdrawn");
        vm.assertEq(address(till).balance, credit, "the whole credit");
        if (!rescueFirst) _rescue(forced);
        vm.assertEq(address(splitter).balance, 0, "nothing is left");
    }

    function _rescue(uint256 forced) private {
        address safe = address(0x5AFE);
        if (forced == 0) vm.expectRevert(PPVSplitter.NothingToSend.selector);
        vm.prank(owner);
        splitter.rescue(NATIVE, safe);
        vm.assertEq(safe.balance, forced, "what was forced in, no more");
    }
}
