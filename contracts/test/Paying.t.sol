// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PPVSplitter} from "../src/PPVSplitter.sol";
import {Base, Till, Wallet} from "./Base.sol";
import {PlainToken, SilentToken} from "./Tokens.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

contract PayingTest is Base {
    // ---- the four ways to pay ----

    function test_native() public {
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        bytes memory sig = _signed(o);
        vm.expectEmit(true, true, true, true, address(splitter));
        emit Paid(o.id, payer, NATIVE, 10000, splitter.hashInvoice(o));
        vm.expectEmit(true, true, true, true, address(splitter));
        emit Share(o.id, creator, 9000, false);
        vm.expectEmit(true, true, true, true, address(splitter));
        emit Share(o.id, affiliate, 1000, false);
        vm.prank(payer);
        splitter.payNative{value: 10000}(o, sig);
        vm.assertEq(creator.balance, 9000, "creator");
        vm.assertEq(affiliate.balance, 1000, "affiliate");
        vm.assertTrue(splitter.used(o.id), "used");
        _nothingStray(NATIVE);
    }

    function test_token_of_each_number_of_decimals() public {
        uint8[3] memory decimals = [6, 8, 18];
        for (uint256 i = 0; i < 3; i++) {
            PlainToken token = new PlainToken("T", "T", decimals[i]);
            uint256 one = 10 ** decimals[i];
            token.mint(payer, 7 * one);
            _payToken(_invoice(address(token), _two(creator, 6 * one, affiliate, one)));
            vm.assertEq(token.balanceOf(creator), 6 * one, "creator");
            vm.assertEq(token.balanceOf(affiliate), one, "affiliate");
            _nothingStray(address(token));
        }
    }

    function test_token_without_an_answer() public {
        SilentToken token = new SilentToken();
        token.mint(payer, 10000);
        PPVSplitter.Invoice memory o = _plain(address(token));
        vm.prank(payer);
        token.approve(address(splitter), 10000);
        bytes memory sig = _signed(o);
        vm.prank(payer);
        splitter.payToken(o, sig);
        vm.assertEq(token.balanceOf(creator), 9000, "creator");
        _nothingStray(address(token));
    }

    function _permit(PPVSplitter.Invoice memory o) private view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 body = keccak256(
            abi.encode(
                dollar.PERMIT_TYPEHASH(), payer, address(splitter), o.amount, dollar.nonces(payer), block.timestamp
            )
        );
        return vm.sign(PAYER, keccak256(abi.encodePacked("\x19\x01", dollar.DOMAIN_SEPARATOR(), body)));
    }

    function test_permit() public {
        PPVSplitter.Invoice memory o = _plain(address(dollar));
        (uint8 v, bytes32 r, bytes32 s) = _permit(o);
        bytes memory sig = _signed(o);
        vm.prank(payer);
        splitter.payWithPermit(o, sig, block.timestamp, v, r, s);
        vm.assertEq(dollar.balanceOf(creator), 9000, "creator");
        vm.assertEq(dollar.allowance(payer, address(splitter)), 0, "no allowance is left");
    }

    function test_permit_that_somebody_else_submitted() public {
        PPVSplitter.Invoice memory o = _plain(address(dollar));
        (uint8 v, bytes32 r, bytes32 s) = _permit(o);
        dollar.permit(payer, address(splitter), o.amount, block.timestamp, v, r, s);
        bytes memory sig = _signed(o);
        vm.prank(payer);
        splitter.payWithPermit(o, sig, block.timestamp, v, r, s);
        vm.assertEq(dollar.balanceOf(creator), 9000, "creator");
    }

    function test_permit_of_nobody() public {
        PPVSplitter.Invoice memory o = _plain(address(dollar));
        bytes memory sig = _signed(o);
        vm.expectRevert();
        vm.prank(payer);
        splitter.payWithPermit(o, sig, block.timestamp, 27, bytes32(uint256(1)), bytes32(uint256(1)));
    }

    function test_authorization_sent_by_anybody() public {
        PPVSplitter.Invoice memory o = _plain(address(dollar));
        bytes32 nonce = splitter.hashInvoice(o);
        bytes memory auth = _sign(PAYER, _receiveDigest(o, nonce));
        splitter.payWithAuthorization(o, _signed(o), 0, type(uint256).max, nonce, auth);
        vm.assertEq(dollar.balanceOf(creator), 9000, "creator");
        vm.assertTrue(dollar.authorizationState(payer, nonce), "the token knows the nonce");
        _nothingStray(address(dollar));
    }

    function test_authorization_of_a_contract_wallet() public {
        address wallet = address(new Wallet(payer));
        dollar.mint(wallet, 10000);
        for (uint256 pad = 0; pad < 40; pad++) {
            // Every length of signature but 65, which is that of a key.
            if (pad == 0) continue;
            PPVSplitter.Invoice memory o = _invoice(address(dollar), _two(creator, 90, affiliate, 10));
            o.payer = wallet;
            bytes32 nonce = splitter.hashInvoice(o);
            bytes memory auth = abi.encodePacked(new bytes(pad), _sign(PAYER, _receiveDigest(o, nonce)));
            splitter.payWithAuthorization(o, _signed(o), 0, type(uint256).max, nonce, auth);
            vm.assertEq(dollar.balanceOf(creator), 90 * pad, "creator");
        }
    }

    function test_authorization_with_another_nonce() public {
        PPVSplitter.Invoice memory o = _plain(address(dollar));
        bytes32 nonce = keccak256("mine");
        bytes memory auth = _sign(PAYER, _receiveDigest(o, nonce));
        bytes memory sig = _signed(o);
        bytes32 hash = splitter.hashInvoice(o);
        vm.expectRevert(abi.encodeWithSelector(PPVSplitter.WrongNonce.selector, hash));
        splitter.payWithAuthorization(o, sig, 0, type(uint256).max, nonce, auth);
    }

    function test_authorization_of_somebody_else() public {
        PPVSplitter.Invoice memory o = _plain(address(dollar));
        bytes32 nonce = splitter.hashInvoice(o);
        bytes memory auth = _sign(SIGNER, _receiveDigest(o, nonce));
        bytes memory sig = _signed(o);
        // The token's own words come through.
        vm.expectRevert("signature");
        splitter.payWithAuthorization(o, sig, 0, type(uint256).max, nonce, auth);
    }

    /// What the payer has authorized for one invoice, another invoice of the same payer and amount cannot use.
    function test_authorization_for_another_invoice() public {
        PPVSplitter.Invoice memory o = _plain(address(dollar));
        PPVSplitter.Invoice memory other = _plain(address(dollar));
        bytes32 nonce = splitter.hashInvoice(o);
        bytes memory auth = _sign(PAYER, _receiveDigest(o, nonce));
        bytes memory sig = _signed(other);
        bytes32 hash = splitter.hashInvoice(other);
        vm.expectRevert(abi.encodeWithSelector(PPVSplitter.WrongNonce.selector, hash));
        splitter.payWithAuthorization(other, sig, 0, type(uint256).max, nonce, auth);
    }

    // ---- what is refused ----

    function test_another_payer() public {
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        bytes memory sig = _signed(o);
        bytes memory reason = abi.encodeWithSelector(PPVSplitter.WrongPayer.selector, payer);
        vm.deal(address(this), o.amount);
        vm.expectRevert(reason);
        splitter.payNative{value: o.amount}(o, sig);
        o = _plain(address(dollar));
        _approve(o);
        sig = _signed(o);
        vm.expectRevert(reason);
        splitter.payToken(o, sig);
        vm.expectRevert(reason);
        splitter.payWithPermit(o, sig, 0, 0, 0, 0);
    }

    function test_value_other_than_the_amount() public {
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        bytes memory sig = _signed(o);
        uint256[3] memory values = [uint256(9999), 10001, 0];
        for (uint256 i = 0; i < 3; i++) {
            vm.expectRevert(abi.encodeWithSelector(PPVSplitter.WrongAmount.selector, 10000, values[i]));
            vm.prank(payer);
            splitter.payNative{value: values[i]}(o, sig);
        }
    }

    function test_wrong_kind_of_token() public {
        PPVSplitter.Invoice memory o = _plain(address(dollar));
        bytes memory sig = _signed(o);
        vm.expectRevert(abi.encodeWithSelector(PPVSplitter.WrongToken.selector, address(dollar)));
        vm.prank(payer);
        splitter.payNative{value: 10000}(o, sig);
        o = _plain(NATIVE);
        sig = _signed(o);
        bytes memory reason = abi.encodeWithSelector(PPVSplitter.WrongToken.selector, NATIVE);
        vm.expectRevert(reason);
        vm.prank(payer);
        splitter.payToken(o, sig);
        vm.expectRevert(reason);
        vm.prank(payer);
        splitter.payWithPermit(o, sig, 0, 0, 0, 0);
        bytes32 nonce = splitter.hashInvoice(o);
        vm.expectRevert(reason);
        splitter.payWithAuthorization(o, sig, 0, 0, nonce, "");
    }

    function test_token_that_is_no_contract() public {
        PPVSplitter.Invoice memory o = _plain(address(0xdead));
        bytes memory sig = _signed(o);
        vm.expectRevert();
        vm.prank(payer);
        splitter.payToken(o, sig);
    }

    function test_deadline_is_inclusive() public {
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        vm.warp(o.deadline);
        _payNative(o);
        o = _plain(NATIVE);
        bytes memory sig = _signed(o);
        vm.warp(o.deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(PPVSplitter.Expired.selector, o.deadline));
        vm.prank(payer);
        splitter.payNative{value: o.amount}(o, sig);
    }

    /// An id is paid once, by whichever call, whatever else the second invoice says.
    function test_replay() public {
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        _payNative(o);
        bytes memory sig = _signed(o);
        bytes memory reason = abi.encodeWithSelector(PPVSplitter.AlreadyPaid.selector, o.id);
        vm.expectRevert(reason);
        vm.prank(payer);
        splitter.payNative{value: o.amount}(o, sig);
        PPVSplitter.Invoice memory other = _plain(address(dollar));
        other.id = o.id;
        _approve(other);
        sig = _signed(other);
        vm.expectRevert(reason);
        vm.prank(payer);
        splitter.payToken(other, sig);
    }

    function _refusedPayees(PPVSplitter.Payee[] memory list) private {
        PPVSplitter.Invoice memory o = _invoice(NATIVE, list);
        bytes memory sig = _signed(o);
        vm.expectRevert(PPVSplitter.BadPayees.selector);
        vm.prank(payer);
        splitter.payNative{value: o.amount}(o, sig);
    }

    function test_payees() public {
        _refusedPayees(new PPVSplitter.Payee[](0));
        _refusedPayees(_two(creator, 1, address(0), 1));
        _refusedPayees(_two(creator, 1, address(splitter), 1));
        _refusedPayees(_two(creator, 1, affiliate, 0));
        PPVSplitter.Payee[] memory many = new PPVSplitter.Payee[](17);
        for (uint256 i = 0; i < 17; i++) many[i] = PPVSplitter.Payee(creator, 1);
        _refusedPayees(many);
        PPVSplitter.Payee[] memory most = new PPVSplitter.Payee[](16);
        for (uint256 i = 0; i < 16; i++) most[i] = PPVSplitter.Payee(creator, 1);
        _payNative(_invoice(NATIVE, most));
        vm.assertEq(creator.balance, 16, "sixteen shares, also of one payee");
    }

    function test_shares_that_do_not_add_up() public {
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        o.amount += 1;
        bytes memory sig = _signed(o);
        vm.expectRevert(abi.encodeWithSelector(PPVSplitter.WrongAmount.selector, 10001, 10000));
        vm.prank(payer);
        splitter.payNative{value: 10001}(o, sig);
    }

    // ---- signatures ----

    function _badSignature(PPVSplitter.Invoice memory o, bytes memory sig) private {
        vm.expectRevert(PPVSplitter.BadSignature.selector);
        vm.prank(payer);
        splitter.payNative{value: o.amount}(o, sig);
    }

    function test_signatures() public {
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER, splitter.hashInvoice(o));
        vm.assertTrue(uint256(s) <= N / 2, "low s");
        _badSignature(o, abi.encodePacked(r, bytes32(N - uint256(s)), v == 27 ? 28 : 27)); // the high-s twin
        _badSignature(o, abi.encodePacked(r, bytes32(N - uint256(s)), v));
        uint8[6] memory wrong = [0, 1, 26, 29, 255, v == 27 ? 28 : 27];
        for (uint256 i = 0; i < 6; i++) _badSignature(o, abi.encodePacked(r, s, wrong[i]));
        _badSignature(o, abi.encodePacked(bytes32(0), s, v));
        _badSignature(o, abi.encodePacked(r, bytes32(0), v));
        _badSignature(o, abi.encodePacked(bytes32(N), s, v));
        _badSignature(o, abi.encodePacked(bytes32(0), bytes32(0), uint8(0)));
        _badSignature(o, "");
        _badSignature(o, abi.encodePacked(r, s));
        _badSignature(o, abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)))); // EIP-2098
        _badSignature(o, abi.encodePacked(r, s, v, uint8(0)));
        _badSignature(o, _sign(PAYER, splitter.hashInvoice(o)));
        vm.prank(payer);
        splitter.payNative{value: o.amount}(o, abi.encodePacked(r, s, v));
    }

    function test_signature_for_another_chain_or_contract() public {
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        bytes memory sig = _signed(o);
        PPVSplitter twin = new PPVSplitter(owner, signer);
        vm.expectRevert(PPVSplitter.BadSignature.selector);
        vm.prank(payer);
        twin.payNative{value: o.amount}(o, sig);
        vm.chainId(8453);
        _badSignature(o, sig);
    }

    // ---- payees that cannot receive ----

    function test_payee_that_refuses_is_credited() public {
        Till till = new Till();
        for (uint8 mood = 1; mood < 4; mood++) {
            till.set(Till.Mood(mood));
            PPVSplitter.Invoice memory o = _invoice(NATIVE, _two(address(till), 70, affiliate, 30));
            bytes memory sig = _signed(o);
            vm.expectEmit(true, true, true, true, address(splitter));
            emit Paid(o.id, payer, NATIVE, 100, splitter.hashInvoice(o));
            vm.expectEmit(true, true, true, true, address(splitter));
            emit Share(o.id, address(till), 70, true);
            vm.prank(payer);
            splitter.payNative{value: 100}(o, sig);
            vm.assertEq(affiliate.balance, 30 * uint256(mood), "the others are paid");
            vm.assertEq(splitter.credits(NATIVE, address(till)), 70 * uint256(mood), "credit");
            _nothingStray(NATIVE);
        }
        till.set(Till.Mood.Takes);
        till.run(address(splitter), abi.encodeCall(splitter.withdraw, (NATIVE)));
        vm.assertEq(address(till).balance, 210, "withdrawn");
        vm.assertEq(splitter.owed(NATIVE), 0, "nothing is owed");
        _nothingStray(NATIVE);
    }

    function test_payer_cannot_starve_a_payee() public {
        Till till = new Till();
        PPVSplitter.Invoice memory o = _invoice(NATIVE, _two(address(till), 70, affiliate, 30));
        bytes memory sig = _signed(o);
        bytes memory call = abi.encodeCall(splitter.payNative, (o, sig));
        uint256 refusals = 0;
        for (uint256 gas = 30_000; gas < 400_000; gas += 1_000) {
            vm.prank(payer);
            (bool ok,) = address(splitter).call{value: 100, gas: gas}(call);
            if (ok) break;
            refusals++;
        }
        vm.assertTrue(refusals > 100, "little gas is refused");
        vm.assertEq(address(till).balance, 70, "and what is not refused pays");
        vm.assertEq(splitter.owed(NATIVE), 0, "no credit");
    }

    // ---- pause ----

    function test_pause_stops_sales_but_not_withdrawals() public {
        Till till = new Till();
        till.set(Till.Mood.Refuses);
        _payNative(_invoice(NATIVE, _two(address(till), 70, affiliate, 30)));
        vm.prank(owner);
        splitter.pause();
        PPVSplitter.Invoice memory o = _plain(NATIVE);
        bytes memory sig = _signed(o);
        vm.startPrank(payer);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        splitter.payNative{value: o.amount}(o, sig);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        splitter.payToken(o, sig);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        splitter.payWithPermit(o, sig, 0, 0, 0, 0);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        splitter.payWithAuthorization(o, sig, 0, 0, 0, "");
        vm.stopPrank();
        till.set(Till.Mood.Takes);
        till.run(address(splitter), abi.encodeCall(splitter.withdraw, (NATIVE)));
        vm.assertEq(address(till).balance, 70, "withdrawn");
        vm.prank(owner);
        splitter.unpause();
        _payNative(o);
    }
}
