// SPDX-License-Identifier: Apache-2.0
// Credits, the owner's rights, tokens that misbehave, and calls back into the contract.
pragma solidity 0.8.37;

import {PPVSplitter} from "../src/PPVSplitter.sol";
import {Base, Till} from "./Base.sol";
import {FeeToken, HookToken, LyingToken} from "./Tokens.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

contract Force {
    constructor(address to) payable {
        selfdestruct(payable(to));
    }
}

contract KeepingTest is Base {
    // ---- credits ----

    function test_withdraw_to_elsewhere() public {
        Till till = new Till();
        till.set(Till.Mood.Refuses);
        _payNative(_invoice(NATIVE, _two(address(till), 70, affiliate, 30)));
        (bool ok,) = till.run(address(splitter), abi.encodeCall(splitter.withdraw, (NATIVE)));
        vm.assertFalse(ok, "it still refuses");
        vm.assertEq(splitter.credits(NATIVE, address(till)), 70, "and loses nothing by it");
        (ok,) = till.run(address(splitter), abi.encodeCall(splitter.withdrawTo, (NATIVE, address(0))));
        vm.assertFalse(ok, "not to nobody");
        (ok,) = till.run(address(splitter), abi.encodeCall(splitter.withdrawTo, (NATIVE, address(splitter))));
        vm.assertFalse(ok, "not to the contract");
        vm.expectEmit(true, true, true, true, address(splitter));
        emit Withdrawn(NATIVE, address(till), creator, 70);
        (ok,) = till.run(address(splitter), abi.encodeCall(splitter.withdrawTo, (NATIVE, creator)));
        vm.assertTrue(ok, "elsewhere");
        vm.assertEq(creator.balance, 70, "there it is");
        (ok,) = till.run(address(splitter), abi.encodeCall(splitter.withdraw, (NATIVE)));
        vm.assertFalse(ok, "once");
        _nothingStray(NATIVE);
    }

    function test_nobody_withdraws_what_is_not_theirs() public {
        vm.expectRevert(PPVSplitter.NothingToSend.selector);
        splitter.withdraw(NATIVE);
        Till till = new Till();
        till.set(Till.Mood.Refuses);
        _payNative(_invoice(NATIVE, _two(address(till), 70, affiliate, 30)));
        vm.expectRevert(PPVSplitter.NothingToSend.selector);
        vm.prank(owner);
        splitter.withdraw(NATIVE);
        vm.expectRevert(PPVSplitter.NothingToSend.selector);
        vm.prank(owner);
        splitter.rescue(NATIVE, owner);
    }

    function test_blocked_payee_of_a_token() public {
        dollar.setBlocked(creator, true);
        _payToken(_plain(address(dollar)));
        vm.assertEq(dollar.balanceOf(affiliate), 1000, "the others are paid");
        vm.assertEq(splitter.credits(address(dollar), creator), 9000, "credit");
        _nothingStray(address(dollar));
        vm.expectRevert("blocked");
        vm.prank(creator);
        splitter.withdraw(address(dollar));
        dollar.setBlocked(creator, false);
        vm.prank(creator);
        splitter.withdraw(address(dollar));
        vm.assertEq(dollar.balanceOf(creator), 9000, "withdrawn");
        _nothingStray(address(dollar));
    }

    function test_blocked_contract_or_payer_and_paused_token() public {
        PPVSplitter.Invoice memory o = _plain(address(dollar));
        _approve(o);
        bytes memory sig = _signed(o);
        dollar.setBlocked(address(splitter), true);
        vm.expectRevert("blocked");
        vm.prank(payer);
        splitter.payToken(o, sig);
        dollar.setBlocked(address(splitter), false);
        dollar.setPaused(true);
        vm.expectRevert("paused");
        vm.prank(payer);
        splitter.payToken(o, sig);
        dollar.setPaused(false);
        vm.prank(payer);
        splitter.payToken(o, sig);
        vm.assertEq(dollar.balanceOf(creator), 9000, "nothing was used up by the refusals");
    }

    // ---- tokens that misbehave ----

    function _tokenRefused(address token) private {
        PPVSplitter.Invoice memory o = _plain(token);
        _approve(o);
        bytes memory sig = _signed(o);
        vm.expectRevert();
        vm.prank(payer);
        splitter.payToken(o, sig);
        vm.assertFalse(splitter.used(o.id), "the invoice is still open");
        vm.assertEq(_balance(token, address(splitter)), 0, "nothing is kept");
    }

    function test_fee_on_transfer() public {
        FeeToken token = new FeeToken();
        token.mint(payer, 100000);
        PPVSplitter.Invoice memory o = _plain(address(token));
        _approve(o);
        bytes memory sig = _signed(o);
        vm.expectRevert(abi.encodeWithSelector(PPVSplitter.WrongAmount.selector, 10000, 9900));
        vm.prank(payer);
        splitter.payToken(o, sig);
    }

    /// A fee on top of what is sent would be paid out of other payees' credits.
    function test_fee_on_top() public {
        FeeToken token = new FeeToken();
        token.mint(payer, 100000);
        token.setOnTop(true);
        token.mint(address(splitter), 1000);
        PPVSplitter.Invoice memory o = _plain(address(token));
        _approve(o);
        bytes memory sig = _signed(o);
        vm.expectRevert(abi.encodeWithSelector(PPVSplitter.WrongAmount.selector, 1000, 900));
        vm.prank(payer);
        splitter.payToken(o, sig);
    }

    function test_tokens_that_lie() public {
        LyingToken token = new LyingToken();
        token.mint(payer, 1e9);
        token.set(false, true, true); // says yes to everything, moves nothing
        _tokenRefused(address(token));
        token.set(true, false, true); // says no, and moves
        _tokenRefused(address(token));
        token.set(false, false, true); // says no, and means it
        _tokenRefused(address(token));
        token.set(false, true, false); // comes in, then stays while it says it went
        _tokenRefused(address(token));
        token.set(true, false, false); // comes in, then goes while it says it stayed
        _tokenRefused(address(token));
        token.set(false, false, false); // comes in, then refuses to go: everybody has a credit
        _payToken(_plain(address(token)));
        vm.assertEq(splitter.credits(address(token), creator), 9000, "credit");
        _nothingStray(address(token));
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token)));
        vm.prank(creator);
        splitter.withdraw(address(token));
        token.set(true, true, false);
        vm.prank(creator);
        splitter.withdraw(address(token));
        vm.assertEq(token.balanceOf(creator), 9000, "withdrawn");
    }

    // ---- calls back ----

    function _reenters(bool succeeded, bytes memory answer) private pure {
        vm.assertFalse(succeeded, "called back");
        vm.assertEq(answer, abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector), "the guard");
    }

    function test_payee_that_calls_back() public {
        Till till = new Till();
        till.set(Till.Mood.Refuses);
        _payNative(_invoice(NATIVE, _two(address(till), 70, affiliate, 30)));
        till.arm(address(splitter), abi.encodeCall(splitter.withdraw, (NATIVE)));
        _payNative(_invoice(NATIVE, _two(address(till), 70, affiliate, 30)));
        _reenters(till.succeeded(), till.answer());
        till.run(address(splitter), abi.encodeCall(splitter.withdraw, (NATIVE)));
        _reenters(till.succeeded(), till.answer());
        vm.assertEq(address(till).balance, 140, "each once");
        _nothingStray(NATIVE);
    }

    function test_token_that_calls_back() public {
        HookToken token = new HookToken();
        token.mint(payer, 1e9);
        PPVSplitter.Invoice memory other = _plain(address(token));
        bytes memory sig = _signed(other);
        bytes[4] memory calls = [
            abi.encodeCall(splitter.payToken, (other, sig)),
            abi.encodeCall(splitter.payNative, (other, sig)),
            abi.encodeCall(splitter.withdraw, (address(token))),
            abi.encodeCall(splitter.payWithAuthorization, (other, sig, 0, 0, bytes32(0), ""))
        ];
        for (uint256 i = 0; i < 4; i++) {
            token.arm(address(splitter), calls[i]);
            _payToken(_plain(address(token)));
            vm.assertTrue(token.called(), "called");
            _reenters(token.succeeded(), token.answer());
            vm.assertEq(token.balanceOf(creator), 9000 * (i + 1), "paid once");
        }
        _nothingStray(address(token));
    }

    // ---- the owner ----

    function test_only_the_owner() public {
        bytes memory reason = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, payer);
        vm.startPrank(payer);
        vm.expectRevert(reason);
        splitter.pause();
        vm.expectRevert(reason);
        splitter.unpause();
        vm.expectRevert(reason);
        splitter.setSigner(payer);
        vm.expectRevert(reason);
        splitter.rescue(NATIVE, payer);
        vm.expectRevert(reason);
        splitter.renounceOwnership();
        vm.expectRevert(reason);
        splitter.transferOwnership(payer);
    }

    function test_owner_changes_in_two_steps() public {
        vm.prank(owner);
        splitter.transferOwnership(creator);
        vm.assertEq(splitter.owner(), owner, "not yet");
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, payer));
        vm.prank(payer);
        splitter.acceptOwnership();
        vm.prank(creator);
        splitter.acceptOwnership();
        vm.assertEq(splitter.owner(), creator, "now");
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableInvalidOwner.selector, address(0)));
        vm.prank(creator);
        splitter.renounceOwnership();
    }

    function test_signer_changes() public {
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        bytes memory old = _signed(o);
        vm.expectEmit(true, true, true, true, address(splitter));
        emit SignerChanged(signer, vm.addr(0x5161));
        vm.prank(owner);
        splitter.setSigner(vm.addr(0x5161));
        vm.expectRevert(PPVSplitter.BadSignature.selector);
        vm.prank(payer);
        splitter.payNative{value: o.amount}(o, old);
        bytes memory sig = _sign(0x5161, splitter.hashInvoice(o));
        vm.prank(payer);
        splitter.payNative{value: o.amount}(o, sig);
        vm.expectRevert(PPVSplitter.BadSigner.selector);
        vm.prank(owner);
        splitter.setSigner(address(0));
        vm.expectRevert(PPVSplitter.BadSigner.selector);
        new PPVSplitter(owner, address(0));
    }

    function test_coins_cannot_be_sent_here() public {
        vm.deal(address(this), 2);
        (bool ok,) = address(splitter).call{value: 1}("");
        vm.assertFalse(ok, "no receive");
        (ok,) = address(splitter).call{value: 1}(abi.encodeCall(splitter.withdraw, (NATIVE)));
        vm.assertFalse(ok, "only payNative takes a value");
    }

    function test_rescue_takes_what_was_forced_in_and_no_credit() public {
        Till till = new Till();
        till.set(Till.Mood.Refuses);
        _payNative(_invoice(NATIVE, _two(address(till), 70, affiliate, 30)));
        vm.deal(address(this), 5);
        new Force{value: 5}(address(splitter));
        vm.startPrank(owner);
        vm.expectRevert(PPVSplitter.TransferFailed.selector);
        splitter.rescue(NATIVE, address(till));
        vm.expectEmit(true, true, true, true, address(splitter));
        emit Rescued(NATIVE, creator, 5);
        splitter.rescue(NATIVE, creator);
        vm.assertEq(creator.balance, 5, "what was forced in");
        dollar.mint(address(splitter), 7);
        splitter.rescue(address(dollar), creator);
        vm.assertEq(dollar.balanceOf(creator), 7, "a token sent by mistake");
        vm.expectRevert(PPVSplitter.NothingToSend.selector);
        splitter.rescue(address(dollar), creator);
        vm.stopPrank();
        vm.assertEq(splitter.owed(NATIVE), 70, "the credit stays");
        _nothingStray(NATIVE);
    }
}
